#!/usr/bin/env bash
# nbdkit-vram: every benchmark program works; its speed is not checked
# SPDX-License-Identifier: BSD-3-Clause

# "make check" runs it, and sets where nbdkit and the build are.
set -euo pipefail

srcdir=$(cd "${srcdir:-$(dirname "$0")}" && pwd)
top_builddir=${VRAM_BUILD:-$(cd .. && pwd)}
# The time limit of a program in seconds, for one that hangs.
patience=$((120 + 60 * ${VRAM_TEST_SLOW:-1}))
plugin=$top_builddir/plugin/.libs/nbdkit-${PLUGIN_NAME:-vram}-plugin.so
standin=$top_builddir/tests/standin/.libs
tmp=$PWD/test-bench.tmp

skip() {
    echo "SKIP: $*"
    exit 77
}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# must_fail WORDS COMMAND...: the command fails, and its output matches WORDS.
must_fail() {
    local words=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        fail "succeeded: $*"
    fi
    grep -q -e "$words" "$tmp/log" || {
        cat "$tmp/log" >&2
        fail "no '$words' from: $*"
    }
}

[ -e "$standin/libcuda.so.1" ] || skip "the stand-in driver is not built"
rm -rf "$tmp"
mkdir -p "$tmp"

# --- micro ---

micro() {
    LD_LIBRARY_PATH=$standin timeout "$patience" ./micro -d 0.005 -t 2 "$@"
}

micro -i 1 >"$tmp/micro.txt"
python3 - "$tmp/micro.txt" <<'END'
import json, sys

lines = open(sys.argv[1]).read().splitlines()
report = json.loads(lines[-1])
assert report["gpu"] == "Stand-in GPU 0", report["gpu"]
seen = {}
for row in report["results"]:
    assert row["p50_us"] > 0, row
    assert row["idle_ms"] or row["per_second"] > 0, row
    seen.setdefault((row["path"], row["direction"]),
                    set()).add((row["bytes"], row["threads"], row["idle_ms"]))
paths = {path for path, _ in seen}
assert paths >= {"blocking", "pinned", "staged", "staged-flag", "lane",
                 "window", "plugin"}, paths
for key in ((path, way) for path in paths for way in ("read", "write")):
    want = {(size << 10, 1, 0) for size in (4, 32, 128, 1024)} | {(4096, 2, 0),
        (4096, 1, 250), (32768, 1, 250)}
    assert seen[key] == want, (key, seen[key])
# The table and the JSON have the same measurements.
assert sum(" KiB " in line for line in lines[:-1]) == len(report["results"])
END

[ "$(micro -i 0 -j | wc -l)" = 1 ] || fail "micro -j prints more than a line"
STANDIN_CUDA_NO_MEMOPS=1 micro -i 0 -j >"$tmp/micro.json" 2>"$tmp/log"
grep -q 'without staged-flag: the GPU does not' "$tmp/log" ||
  fail "micro does not report what the GPU lacks"
! grep -q staged-flag "$tmp/micro.json" ||
  fail "micro measured what the GPU lacks"
STANDIN_CUDA_FAIL=cuMemcpyDtoHAsync:1+:CUDA_ERROR_UNKNOWN \
    must_fail 'cuMemcpyDtoHAsync: CUDA_ERROR_UNKNOWN' micro -p pinned
STANDIN_VULKAN_NO_ICD=1 must_fail 'without window: cannot initialise Vulkan' \
  micro -p window
STANDIN_CUDA_DEVICES=0 must_fail 'CUDA_ERROR_NO_DEVICE' micro -i 0
must_fail 'there is no GPU 7' micro -g 7
must_fail "-d: 'soon'" micro -d soon
must_fail "none of the paths 'lan,es'" micro -p lan,es

# --- bench ---

[ -z "${SANITIZER_PRELOAD:-}" ] || {
    echo "bench is left out: fio and nbdkit are not instrumented"
    exit 0
}
nbdkit=${NBDKIT:-nbdkit}
command -v "$nbdkit" >/dev/null || skip "no nbdkit"
command -v fio >/dev/null || skip "no fio"
command -v nbdinfo >/dev/null || skip "no nbdinfo"
fio --enghelp | grep -qw nbd || skip "this fio has no nbd engine"

bench() {
    LD_LIBRARY_PATH=$standin NBDKIT=$nbdkit VRAM_PLUGIN=$plugin \
      PLAIN_PLUGIN=$PWD/.libs/nbdkit-plain-plugin.so \
        timeout "$patience" "$srcdir/bench" --size 16M --rounds 1 --threads 2 \
        --duration 0.05 --idle 0.1 "$@"
}

# Short runs: one round of every job, and two rounds of one job for medians.
bench --output "$tmp/all" -C memory,vram >"$tmp/all.txt"
STANDIN_VULKAN_NO_ICD=1 bench --output "$tmp/blind" -C vram \
  --jobs 4k-read-d1 >"$tmp/blind.txt"
bench --output "$tmp/some" -C plain --rounds 2 --threads 1,2 \
  --jobs 4k-write-d1 >/dev/null
python3 - "$tmp" <<'END'
import csv, json, statistics, sys
from pathlib import Path

folder = Path(sys.argv[1])
results = json.loads((folder / "all/results.json").read_text())
assert not results["troubles"], results["troubles"]
jobs = [job["name"] for job in results["jobs"]]
assert len(jobs) == 14
combinations = [(job, name) for job in jobs for name in ("memory", "vram")]
assert [(run["job"], run["contender"])
        for run in results["runs"]] == combinations
for run in results["runs"]:
    assert all(run[key] > 0 for key in ("requests", "p50_us",
                                        "server_cpu_us")), run
    (base,) = (other for other in results["runs"]
               if (other["job"], other["contender"]) == (run["job"], "memory"))
    key = "p50_us" if "idle" in run["job"] else "iops"
    assert abs(run["ratio"] - run[key] / base[key]) < 1e-9, run
for server in results["servers"]:
    assert server["end"]["resident"] >= 16 << 20, server
# The contender vram reports whether it had a window.
no_vulkan = "DMA alone: cannot initialise Vulkan"
for name, way in ("all", "window"), ("blind", no_vulkan):
    told = json.loads((folder / name / "results.json").read_text())
    (server,) = (
        row for row in told["servers"] if row["contender"] == "vram"
    )
    words = f"VRAM of Stand-in GPU 0, 0000:01:00.0, copies by {way}"
    assert words in server["description"], server
    text = (folder / f"{name}.txt").read_text()
    assert f"\nvram -t 2            {server['description']}\n" in text, text
with open(folder / "all/results.csv") as stream:
    assert len(list(csv.DictReader(stream))) == len(combinations)
text = (folder / "all.txt").read_text()
for job in jobs:
    # two contenders, and the table of ratios
    assert text.count(f"\n{job}") == 3, job

results = json.loads((folder / "some/results.json").read_text())
assert results["contenders"]["memory"].startswith("nbdkit-memory-plugin.so ")
assert len(results["runs"]) == 2 * 2 * 2 and len(results["summary"]) == 2 * 2
for row in results["summary"]:
    runs = [run for run in results["runs"]
            if all(run[key] == row[key] for key in ("threads", "contender"))]
    assert row["iops"] == statistics.median(run["iops"] for run in runs)
    ratios = []
    for run in runs:
        (base,) = (
            other
            for other in results["runs"]
            if other["contender"] == "memory"
            and all(other[key] == run[key] for key in ("threads", "round"))
        )
        ratios.append(run["iops"] / base["iops"])
    assert abs(row["ratio"] - statistics.median(ratios)) < 1e-9, (row, ratios)
END
if command -v gnuplot >/dev/null; then
    grep -q '</svg>' "$tmp/all/results.svg" || fail "no picture"
    "$srcdir/plot" "$srcdir/results/h100.json" "$tmp/h100.svg"
    grep -q '</svg>' "$tmp/h100.svg" || fail "no picture of h100.json"
fi

# A disk that loses data, one that does not start, one that fails, and unknown
# names.
quick=(-o "$tmp/bad" --jobs 4k-read-d1)
must_fail 'junk: fio exited' bench "${quick[@]}" -c junk='null size={size}' \
  -C junk
must_fail 'sick: nbdkit exited with 1: .*nonsense' bench "${quick[@]}" \
  -c sick='memory size={size} nonsense=1' -C sick
STANDIN_CUDA_FAIL=cuMemcpyDtoH:1+:CUDA_ERROR_UNKNOWN must_fail \
  'plain: fio exited' bench "${quick[@]}" -C plain
must_fail "'nosuch': unknown; there are memory" bench -C nosuch
must_fail 'none of 4k-read-d1' bench --jobs 5k

# The results have the error of the first contender that failed.
grep -q '"plain: fio exited' "$tmp/bad/results.json" ||
  fail "results.json does not have the error"

# --- idle ---

mkdir "$tmp/programs"
cat >"$tmp/programs/nvidia-smi" <<'END'
#!/bin/sh
case $* in
*clocks.sm*) echo "345, 2619, 70.50" ;;
*) echo "Stand-in GPU 0, 580.159.04, 5" ;;
esac
END
chmod +x "$tmp/programs/nvidia-smi"

idle() {
    PATH=$tmp/programs:$PATH LD_LIBRARY_PATH=$standin NBDKIT=$nbdkit \
      VRAM_PLUGIN=$plugin timeout "$patience" \
        "$srcdir/idle" --size 16M --rounds 2 --duration 0.05 --rest 0 \
        --watch 0.2 --sample 0.1 "$@"
}

idle -m window,window-boost -j 4k-read-d1,4k-write-d1 --maps \
  -o "$tmp/idle" >"$tmp/idle.txt"
python3 - "$tmp" <<'END'
import json, statistics, sys
from pathlib import Path

folder = Path(sys.argv[1])
results = json.loads((folder / "idle/idle.json").read_text())
assert results["no_server"] == {"sm_mhz": 345, "memory_mhz": 2619,
                                "watts": 70.5}, results["no_server"]
assert len(results["runs"]) == 2 * 2 * 2
loads = [(row["mode"], row["threads"], "gpu" in row)
         for row in results["rest"]]
assert loads == [(mode, threads, threads == 1)
                 for mode in ("window", "window-boost")
                 for threads in (1, 16)], loads
for row in results["rest"]:
    assert row["memory"]["resident"] > 4 << 20, row
    assert row["maps"]["[heap]"] > 1 << 20, row
text = (folder / "idle.txt").read_text()
for job in "4k-read-d1", "4k-write-d1":
    iops = {(run["mode"], run["round"]): run["iops"] for run in results["runs"]
            if run["job"] == job}
    ratio = statistics.median(iops["window", n] / iops["window-boost", n]
                              for n in (1, 2))
    assert f"window     {job:14} {ratio:.3f} (" in text, (job, ratio, text)
assert "\nwindow-boost     345.0      2619.0    70.5 " in text, text
END
must_fail "--modes: 'loud'" idle -m loud

# No process is left behind.
! pgrep -f "$PWD/.libs/nbdkit-plain-plugin.so" >/dev/null ||
  fail "a server still runs"

# Without VRAM_PLUGIN the build's plugin is found, whatever its name.
env -u VRAM_PLUGIN NBDKIT="$nbdkit" "$srcdir/bench" \
  -n -C vram-dma >"$tmp/found"
grep -qF "$(realpath "$plugin") size=" "$tmp/found" ||
  fail "found another plugin: $(cat "$tmp/found")"

bench -n -c memory2='memory size={size}' -C memory2 >"$tmp/estimate"
grep -q 'about 0\.. minutes' "$tmp/estimate" || fail "no estimate"
rm -rf "$tmp"
