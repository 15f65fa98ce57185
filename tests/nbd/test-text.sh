#!/usr/bin/env bash
# nbdkit-vram: lines have at most 79 columns, files name their licence, links
# and references in the documentation have a target, and words are spelled
# right
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -u

requires_program git
requires_program python3
cd "$top_srcdir"
git=(git -c safe.directory='*')
"${git[@]}" rev-parse --is-inside-work-tree >/dev/null 2>&1 ||
  skip "the sources are not in a git repository"
"${git[@]}" ls-files -z >"$tmp/files"

python3 - "$tmp/files" <<'END'
import pathlib, re, sys

files = [pathlib.Path (f) for f in
         open (sys.argv[1]).read ().split ("\0") if f]
problems = []

def problem (file, line, words):
    problems.append ("%s:%d: %s" % (file, line, words))

def headings (file):
    """The anchors of a Markdown page."""
    found = re.findall (r"^#+ (.*)$", file.read_text (), re.M)
    return {re.sub (r"[^-\w]", "", h.lower ().replace (" ", "-"))
            for h in found}

for file in files:
    # A file may have been removed or renamed since the last commit.
    if not file.is_file ():
        continue
    lines = file.read_text (encoding = "utf-8").split ("\n")
    if file.suffix in (".c", ".h", ".py", ".sh", ".am"):
        licence = r"(#| \*) SPDX-License-Identifier: BSD-3-Clause"
        if not any (re.fullmatch (licence, line) for line in lines[:6]):
            problem (file, 1, "no line SPDX-License-Identifier")
    for n, line in enumerate (lines, 1):
        if len (line.expandtabs (8)) > 79 and \
                file.suffix not in (".json", ".svg"):
            problem (file, n, "more than 79 columns")

pages = {}
for pod in pathlib.Path ("man").glob ("*.pod"):
    text = pod.read_text ()
    pages[pod.stem] = set (re.findall (r"^=head\d (.*)$", text, re.M))
for file in files:
    if file.suffix not in (".md", ".pod") or not file.is_file ():
        continue
    for n, line in enumerate (file.read_text ().split ("\n"), 1):
        if file.suffix == ".md":
            for link in re.findall (r"\]\(([^)\s]+)\)", line):
                path, _, anchor = link.partition ("#")
                if "://" in link:
                    continue
                target = file.parent / path if path else file
                if not target.exists ():
                    problem (file, n, "%s does not exist" % link)
                elif anchor and anchor not in headings (target):
                    problem (file, n, "%s has no such heading" % link)
            # Files that the text names.
            for path in re.findall (r"`((?:[a-z]+/)+[-\w.]+)`", line):
                roots = file.parent, pathlib.Path ("."), \
                    pathlib.Path ("plugin"), pathlib.Path ("swap")
                top = path.split ("/")[0]
                if top in ("out", "etc") or not pathlib.Path (top).is_dir ():
                    continue
                # A program is built from a file with its name.
                if "NAME" not in path and \
                        not any ((root / path).exists () or
                                 (root / (path + ".c")).exists ()
                                 for root in roots):
                    problem (file, n, "%s does not exist" % path)
        # Pages of this project.
        for page, section in re.findall (r"\b((?:nbdkit-vram|vram-)[-.\w]*)"
                                         r"\((\d)\)", line):
            if page not in pages:
                problem (file, n, "there is no page %s(%s)" % (page, section))
        if file.suffix == ".pod":
            for part in re.findall (r'L</"?([^">]+)"?>', line):
                if part not in pages[file.stem]:
                    problem (file, n, "there is no section %s" % part)

print ("\n".join (problems))
sys.exit (len (problems) > 0)
END

if ! type -P codespell; then
  skip "spelling: codespell is not installed; the rest passed"
fi
# codespell takes these words for misspellings.
xargs -0 codespell --ignore-words-list=fro,sise <"$tmp/files"
