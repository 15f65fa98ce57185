#!/bin/bash
# nbdkit-vram: installs the build for a virtual machine and runs the tests in it
# SPDX-License-Identifier: BSD-3-Clause
#
#   check-vm.sh BUILDDIR [TEST...]   BUILDDIR is configured and built; TEST is one
#                                    of life, pressure, deaths, service, upgrade, shutdown
#                                    (default: all)
set -euo pipefail

here=$(dirname "$(realpath "$0")")
build=$(realpath "$1")
shift
(($#)) || set -- life pressure deaths service upgrade shutdown

if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "SKIP: needs root on a Debian system, to make the virtual machine's disk"
  exit 77
fi

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
make -s -C "$build" install DESTDIR="$stage/dest" >"$stage/install.log" 2>&1 || {
  cat "$stage/install.log" >&2
  exit 1
}
# A library of a check_LTLIBRARIES is built by "make check" only.
make -s -C "$build/tests/standin" libcuda.la >/dev/null
mkdir "$stage/driver"
cp -a "$build"/tests/standin/.libs/libcuda.so* "$stage/driver"
cp "$here"/guest*.sh "$stage"
for program in lockvram memfill; do
  "${CC:-cc}" -O2 -static -o "$stage/$program" "$here/$program.c"
done

# The console of a machine that has shut itself down: swap was off when its unit had stopped, and before the
# server's had, and nobody met an error.
shut_down_well ()
{
  local console=$build/vm-shutdown.console
  grep -a -E "has stopped|in use before|reboot: Power down" "$console" || :
  grep -qa "^in use before: /dev/nbd0" "$console" &&
    grep -a -o "vram-swap[a-z-]* has stopped, swaps: .*" "$console" | tr -d '\r' | diff - <(
      echo "vram-swap has stopped, swaps: 0, result: success"
      echo "vram-swap-server has stopped, swaps: 0, result: success"
    ) && grep -qa "reboot: Power down" "$console" &&
    ! grep -a -E "Read-error|Write-error|Out of memory" "$console"
}

run_one ()
{
  local status=0
  "$here/vmrun.sh" "${options[@]}" -l "$build/vm-$test.console" "$stage" "bash guest-$test.sh" || status=$?
  if [[ $test == shutdown ]]; then
    # It ends without a word.
    [[ $status == 125 ]] && shut_down_well
  else
    return $status
  fi
}

failed=()
for test; do
  options=()
  # Memory, what runs as pid 1, and a limit in seconds.
  case $test in
    life) options=(-m 1G -t 600) ;;
    pressure) options=(-m 1G -t 900) ;;
    deaths) options=(-m 1G -t 700) ;;
    service) options=(-m 1G -t 600 -i systemd) ;;
    upgrade) options=(-m 1G -t 600 -i systemd) ;;
    shutdown) options=(-m 1G -t 400 -i systemd) ;;
    *) echo "unknown test '$test'" >&2; exit 2 ;;
  esac
  echo "== $test"
  start=$SECONDS
  if run_one; then
    echo "PASS: $test ($((SECONDS - start)) s)"
  else
    echo "FAIL: $test ($((SECONDS - start)) s); the kernel's console is in $build/vm-$test.console"
    failed+=("$test")
  fi
done
((${#failed[@]} == 0))
