#!/bin/bash
# nbdkit-vram: installs the build into virtual machines and runs tests there
# SPDX-License-Identifier: BSD-3-Clause
#
#   check-vm.sh [-j N] BUILDDIR [TEST...]
#
# BUILDDIR is configured and built. Machines run in parallel while together
# they keep at most N CPUs busy (default 1); a machine that needs more runs
# alone. Emulated CPUs that share a real one wait for each other and take
# several times as long. The default is all tests but deadlock, elastic,
# examples and newcomer. Environment variables:
#
#   DEATHS, DAEMON_DEATHS, BOTH_DEATHS, FULL_DEATHS
#                how often deaths kills the server, the daemon, and both
#   CONNECTIONS  the setting "connections" in deaths
#   ELASTIC_ROUNDS
#                how often elastic fills the disk, and how often it takes VRAM
#   ELASTIC_DISCARD
#                for which values of "discard" it measures stale data
#   STOPS        how often stops stops the service
#   RUNS         how often deadlock tries each set of protections
#   BEFORE       the folder of an older version's make install, for upgrade
#   MIX          which setups of guest-mix.sh to try
#   BUSY=no      leaves out the longest step of life
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cache=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nbdkit-vram-vm}
jobs=1
if [[ ${1-} == -j ]]; then
  jobs=$2
  shift 2
fi
build=$(realpath "$1")
shift
# Tests that keep several CPUs busy come first, then the longest, so that no
# long test runs alone at the end.
(($#)) || set -- deaths mix pressure service life upgrade packages reload \
  reboot faults lost shutdown-full stops outages shutdown trouble

if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "SKIP: making the virtual machine's disk needs root on a Debian system"
  exit 77
fi

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
make -s -C "$build" install DESTDIR="$stage/dest" >"$stage/install.log" 2>&1 ||
  {
  cat "$stage/install.log" >&2
  exit 1
}
# Only "make check" builds what is in check_LTLIBRARIES.
make -s -C "$build/tests/standin" libcuda.la >/dev/null
mkdir "$stage/driver"
cp -a "$build"/tests/standin/.libs/libcuda.so* "$stage/driver"
cp "$here"/guest*.sh "$stage"
for program in lockvram memfill; do
  "${CC:-cc}" -O2 -static -o "$stage/$program" "$here/$program.c"
done

# For upgrade: another build of the same sources, with another version and
# other compiler flags.
build_next ()
{
  local next=$build/vm-next name
  name=$(sed -n 's/^PLUGIN_NAME = //p' "$build/Makefile")
  mkdir -p "$next"
  grep -qsx "PLUGIN_NAME = $name" "$next/Makefile" ||
    (cd "$next" && "$here/../../configure" --with-plugin-name="$name" \
    CFLAGS=-O1) || return
  sed -i 's/^\(#define PACKAGE_VERSION "[^"+]*\)[^"]*"/\1+next"/' \
    "$next/config.h" || return
  make -s -C "$next/common" && make -s -C "$next/plugin" &&
    make -s -C "$next/swap" || return
  mkdir -p "$stage/next"
  cp "$next/plugin/.libs/nbdkit-$name-plugin.so" "$next/swap/vram-swap" \
    "$stage/next"
}

# The packages of this tree, and the same packages with a lower version.
build_packages ()
{
  local deb
  "$here/../../packaging/build" --nocheck deb || return
  mkdir "$stage/debs" "$stage/older"
  cp "$here"/../../out/*.deb "$stage/debs"
  for deb in "$stage/debs"/*.deb; do
    rm -rf "$stage/deb"
    dpkg-deb -R "$deb" "$stage/deb"
    sed -i -e 's/^Version: .*/Version: 0.0.1-1/' \
      -e 's/(= [^)]*)/(= 0.0.1-1)/' "$stage/deb/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone -b "$stage/deb" "$stage/older" || return
  done
}

# shut_down_well TEST: checks the console of a machine that has shut down.
# shutdown: swap was off when the unit had stopped, and there was no error.
# shutdown-full: the unit never stopped, because the swapped data fitted
# nowhere else; no program was killed, and the machine still powered off.
shut_down_well ()
{
  local console=$build/vm-$1.console \
    errors="Read-error|Write-error|Out of memory" stopped=(
    "vram-swap has stopped, swaps: 0, result: success"
  )
  if [[ $1 == shutdown-full ]]; then
    errors="Out of memory"
    stopped=()
  fi
  grep -a -E "has stopped|in use before|Forcibly|reboot: Power down" \
    "$console" || :
  grep -qa "in use before: /dev/nbd0" "$console" &&
    diff <(grep -a -o "vram-swap has stopped, swaps: .*" "$console" |
    tr -d '\r') <(printf '%s' "${stopped[@]/%/$'\n'}") &&
    grep -qa "reboot: Power down" "$console" &&
    ! grep -a -E "$errors" "$console"
}

# machine NAME COMMAND: runs COMMAND in a new machine, with $options. The
# output goes to $build/vm-NAME.log.
machine ()
{
  "$here/vmrun.sh" "${options[@]}" -l "$build/vm-$1.console" "$stage" \
    "$2" >"$build/vm-$1.log" 2>&1
}

# A machine without the server's protections hangs in at least one run; with
# all of them it never hangs.
deadlock ()
{
  local guard run status hung=0 bad=0 line
  for guard in none locked all; do
    line="$guard:"
    for ((run = 1; run <= ${RUNS:-3}; run++)); do
      status=0
      machine "deadlock-$guard-$run" "GUARD=$guard bash guest-deadlock.sh" ||
        status=$?
      case $status in
        0) line+=" survived" ;;
        124) line+=" hung" ;;
        *) line+=" status $status" ;;
      esac
      [[ $status == 0 || $guard == all ]] || hung=$((hung + 1))
      [[ $status == 0 || $guard != all ]] || bad=$((bad + 1))
    done
    echo "$line"
  done
  ((bad == 0 && hung > 0))
}

# cpus TEST: how many CPUs its machine has. A second one slows a test down, so
# only tests that need several have it.
cpus ()
{
  case $1 in
    life | pressure | elastic | mix | deaths | outages | deadlock | \
      newcomer | examples) echo 2 ;;
    *) echo 1 ;;
  esac
}

# load TEST: how busy it keeps the host, in percent of one CPU. Some tests
# spend much of their time waiting.
load ()
{
  case $1 in
    deaths | mix | pressure | reload | elastic | deadlock) echo 160 ;;
    outages | shutdown-full) echo 60 ;;
    *) echo 100 ;;
  esac
}

run_one ()
{
  local status=0 options=(-c "$(cpus "$test")") environment
  environment="DEATHS=${DEATHS:-50} DAEMON_DEATHS=${DAEMON_DEATHS:-20}"
  environment+=" BOTH_DEATHS=${BOTH_DEATHS:-10}"
  environment+=" FULL_DEATHS=${FULL_DEATHS:-5} STOPS=${STOPS:-10}"
  environment+=" CONNECTIONS=${CONNECTIONS:-1} BUSY=${BUSY:-yes}"
  environment+=" ELASTIC_ROUNDS=${ELASTIC_ROUNDS:-20}"
  environment+=" ELASTIC_DISCARD='${ELASTIC_DISCARD-no once pages both}'"
  environment+=" MIX='${MIX:-1 2 3 4}'"
  # Memory, a limit in seconds, and what runs as PID 1.
  case $test in
    life) options+=(-m 768M -t 1800) ;;
    pressure) options+=(-m 768M -t 1800) ;;
    elastic) options+=(-m 512M -t 3600) ;;
    mix) options+=(-m 1G -t 1200) ;;
    deaths) options+=(-m 768M -t 2400 -i systemd) ;;
    outages) options+=(-m 768M -t 1200) ;;
    deadlock) options+=(-m 768M -t 240) ;;
    service) options+=(-m 768M -t 1800 -i systemd) ;;
    stops) options+=(-m 768M -t 2400 -i systemd) ;;
    faults) options+=(-m 768M -t 400 -i systemd) ;;
    lost | upgrade) options+=(-m 768M -t 600 -i systemd) ;;
    reload) options+=(-m 768M -t 1500 -i systemd) ;;
    packages | reboot) options+=(-m 768M -t 600 -i systemd -b) ;;
    shutdown | shutdown-full) options+=(-m 768M -t 400 -i systemd) ;;
    examples)
      options+=(-m 1G -t 1800 -i systemd)
      # A disk of its own, with the programs of the man page's examples.
      export VM_CACHE=$cache/examples
      VM_PACKAGES="procps psmisc e2fsprogs nbdkit nbd-client libjansson4"
      VM_PACKAGES+=" libnbd-bin cryptsetup-bin dmsetup lvm2 mdadm mount"
      export VM_PACKAGES="$VM_PACKAGES openssl util-linux"
      cp "$here/../../man/nbdkit-vram-plugin.pod" "$stage" ;;
    newcomer)
      options+=(-m 2G -t 3600 -i systemd -n)
      # A disk of its own, nearly empty.
      export VM_CACHE=$cache/newcomer
      export VM_PACKAGES="apt ca-certificates git mount procps" ;;
    trouble) options+=(-m 768M -t 300 -i systemd -a novramswap) ;;
    *) echo "unknown test '$test'" >&2; return 2 ;;
  esac
  if [[ $test == deadlock ]]; then
    deadlock
    return
  fi
  if [[ $test == upgrade ]]; then
    build_next >"$build/vm-next.log" 2>&1 ||
      { tail -n 20 "$build/vm-next.log"; return 1; }
    [[ -z ${BEFORE-} ]] || cp -a "$BEFORE" "$stage/before"
  fi
  if [[ $test == packages ]]; then
    build_packages >"$build/vm-debs.log" 2>&1 ||
      { tail -n 20 "$build/vm-debs.log"; return 1; }
  fi
  if [[ $test == newcomer ]]; then
    git clone -q --bare "$here/../.." "$stage/nbdkit-vram.git" || return
  fi
  machine "$test" "$environment bash guest-$test.sh" || status=$?
  if [[ $test == shutdown || $test == shutdown-full ]]; then
    # The machine is off and has returned no status.
    [[ $status == 125 ]] && shut_down_well "$test" && return
    cat "$build/vm-$test.log"
    return 1
  fi
  cat "$build/vm-$test.log"
  # A test that does not come to its end has not passed.
  grep -q '^all passed$' "$build/vm-$test.log" || return 1
  return $status
}

# Runs one test in a subshell of its own, and prints its output in one piece.
run_and_tell ()
{
  local start=$SECONDS status=0 output took
  output=$(run_one 2>&1) || status=$?
  # The second line has the children's time, in user and in kernel mode.
  # A command substitution would have times of its own.
  times >"$stage/times.$test"
  took="$((SECONDS - start)) s, $(awk 'NR == 2 {
      split ($1 "m" $2, t, /[ms]/)
      printf "%d", t[1] * 60 + t[2] + t[4] * 60 + t[5]
    }' "$stage/times.$test") s of CPU"
  {
    flock 9
    echo "== $test"
    printf '%s\n' "$output"
    if ((status == 0)); then
      echo "PASS: $test ($took)"
    else
      echo "FAIL: $test ($took); the kernel's console is in" \
        "$build/vm-$test.console"
    fi
  } 9>"$stage/.lock"
  return $status
}

# Waits until a machine has ended.
declare -A load_of
finish_one ()
{
  local pid
  wait -n -p pid || failed=$((failed + 1))
  busy=$((busy - load_of[$pid]))
  unset "load_of[$pid]"
}

# Here, so that machines that start in parallel do not all build it.
"$here/vmbuild.sh" >&2
failed=0 busy=0
pending=("$@")
while ((${#pending[@]})); do
  # The first test that fits. The sum may be a quarter of a CPU over, because
  # no test is busy all the time.
  for i in "${!pending[@]}"; do
    test=${pending[i]}
    wanted=$(load "$test")
    ((busy > 0 && busy + wanted > 100 * jobs + 25)) || break
    test=
  done
  if [[ -z $test ]]; then
    finish_one
    continue
  fi
  unset "pending[i]"
  run_and_tell &
  load_of[$!]=$wanted
  busy=$((busy + wanted))
done
while ((busy > 0)); do
  finish_one
done
((failed == 0))
