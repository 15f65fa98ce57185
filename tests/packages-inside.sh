#!/usr/bin/env bash
# nbdkit-vram: installs, upgrades, uses, removes and purges packages in a
# Debian root file system
# SPDX-License-Identifier: BSD-3-Clause
#
#   packages-inside.sh STANDIN [SUITE]
#
# The packages are in ./debs, the stand-in driver in STANDIN. If SUITE, a build
# folder, is given, its tests run with the installed files. Only for
# tests/check-packages, which runs it in a root of its own.

set -eu -o pipefail

standin=$1 suite=${2-}
export DEBIAN_FRONTEND=noninteractive

fail ()
{
  echo "packages-inside.sh: $*" >&2
  exit 1
}

step ()
{
  echo "--- $*"
}

# says WORDS COMMAND...: the command prints WORDS. It may fail.
says ()
{
  local words=$1 out
  shift
  out=$("$@" 2>&1) || :
  [[ $out == *"$words"* ]] || fail "$*: '$words' is not in: $out"
}

apt ()
{
  apt-get -q -y -o APT::Sandbox::User=root \
    -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# succeeds COMMAND...: the command succeeds. Its output is in ./log.
succeeds ()
{
  "$@" >log 2>&1 || {
    cat log
    fail "$*"
  }
}

# logged WORDS: ./log contains WORDS.
logged ()
{
  grep -F -e "$1" log || {
    cat log
    fail "'$1' is not in the output"
  }
}

units_enabled ()
{
  find /etc/systemd/system -type l -name '*vram-swap*'
}

# Prints every file, with enough to see that it has changed, but not the data
# of apt and dpkg.
snapshot ()
{
  find / -xdev \( -path /build -o -path /root -o -path /var/cache \
    -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/log \) -prune \
    -o ! -path '/etc/*-' ! -path /etc/.pwd.lock \( \
    -type d -printf '%p %m %u %g\n' \
    -o -path '/etc/*' -type f -exec sha256sum {} + \
    -o -printf '%p %m %u %g %s %t %l\n' \) | sort
}

# older DEB...: makes the same packages with a lower version, in ./older.
older ()
{
  local deb
  mkdir -p older
  for deb; do
    rm -rf work
    dpkg-deb -R "$deb" work
    sed -i -e 's/^Version: .*/Version: 0.0.1-1/' \
      -e 's/(= [^)]*)/(= 0.0.1-1)/' work/DEBIAN/control
    dpkg-deb --root-owner-group -Znone -b work older >/dev/null
  done
  rm -rf work
}

# pretend_daemon STATUS: starts a program in the place of vram-swap's daemon.
# It answers each request with STATUS and appends the request to ./requests.
pretend_daemon ()
{
  mkdir -p /run/vram-swap
  rm -f requests
  python3 - "$1" <<'END' &
import json, os, socket, sys
listener = socket.socket (socket.AF_UNIX)
listener.bind ("/run/vram-swap/control")
listener.listen ()
while True:
    client, _ = listener.accept ()
    request = client.makefile ().readline ()
    with open ("requests", "a") as f:
        f.write (json.loads (request)["request"] + "\n")
    answer = {"status": int (sys.argv[1])}
    if answer["status"] == 0:
        answer["ok"] = True
    else:
        answer["error"] = "it would not fit"
    client.sendall (json.dumps (answer).encode () + b"\n")
    client.close ()
END
  daemon=$!
  until [ -S /run/vram-swap/control ]; do
    kill -0 "$daemon" || fail "no daemon"
    sleep 0.1
  done
}

end_daemon ()
{
  kill "$daemon"
  wait "$daemon" || :
  rm -r /run/vram-swap
}

snapshot >before
older debs/*.deb

step "an older version can be installed"
succeeds apt install ./older/*.deb
logged "systemctl enable --now vram-swap"
[ -z "$(units_enabled)" ] || fail "enabled on installation"
succeeds setpriv --reuid=65534 env PATH=/usr/local/bin:/usr/bin:/bin \
  vram-swap --version
[ "$(id -gn vram-swap)" = vram-swap ] || fail "no user vram-swap"
echo "size = 1G" >>/etc/nbdkit-vram.conf

step "an upgrade reloads a running daemon"
pretend_daemon 0
succeeds apt install ./debs/*.deb
[ "$(cat requests)" = reload ] ||
  fail "the upgrade made these requests: $(cat requests)"
grep -q "^size = 1G" /etc/nbdkit-vram.conf || fail "the settings are lost"
dpkg -l nbdkit-plugin-gpuram vram-swap | tail -n 2 | tee versions
! grep -F 0.0.1 versions || fail "not upgraded"
end_daemon

step "an upgrade says that the daemon refuses the new version"
pretend_daemon 1
succeeds apt install --reinstall ./debs/*.deb
logged "the installed version is not in use yet"
end_daemon

step "nbdkit gpuram serves"
plugins=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
export LD_LIBRARY_PATH=$standin
nbdkit gpuram --dump-plugin >dump
grep -E '^(name|version|vram_num_devices)=' dump
grep -qx name=gpuram dump || fail "--dump-plugin has another name"
head -c 16M /dev/urandom >data
# shellcheck disable=SC2016 # for nbdkit's shell
nbdkit -U - gpuram size=16M min-size=16M \
  --run 'nbdcopy data "$uri" && nbdcopy "$uri" back'
cmp data back
rm data back
if [ -e "$plugins/nbdkit-vram-plugin.so" ]; then
  dpkg -S "$plugins/nbdkit-vram-plugin.so"
  says "nbdkit vram plugin" nbdkit vram --help
  nbdkit vram --dump-plugin >dump
  grep -qx name=vram dump || fail "nbdkit's own plugin vram is gone"
  ! grep vram_superblock_version dump || fail "vram is this project's plugin"
  step "check explains that plugin = vram would name nbdkit's own plugin"
  cp /etc/nbdkit-vram.conf conf
  echo "plugin = vram" >>/etc/nbdkit-vram.conf
  says "nbdkit's 'vram' is another plugin of that name" vram-swap check
  says "fix: set plugin = gpuram" vram-swap check
  cp conf /etc/nbdkit-vram.conf
fi
# vram-swap runs nbdkit as another user, which must be able to read the
# stand-in.
cp -a "$standin" /run/driver
LD_LIBRARY_PATH=/run/driver vram-swap check >log || :
logged "nbdkit loads 'gpuram', with these settings"
unset LD_LIBRARY_PATH
for page in man1/nbdkit-gpuram-plugin.1 man5/nbdkit-vram.conf.5 \
  man8/vram-swap.8; do
  zcat "/usr/share/man/$page.gz" >text
  ! grep -nE 'nbdkit vram|nbdkit-vram-plugin' text ||
    fail "$page has another name of the plugin"
done

if [ -n "$suite" ]; then
  step "the tests pass with the installed files"
  VRAM_PLUGIN=$plugins/nbdkit-gpuram-plugin.so VRAM_SWAP=/usr/bin/vram-swap \
    make -C "$suite/tests/nbd" -k -j"$(($(nproc) * 2))" check \
    >suite.log 2>&1 || :
fi

step "a removal fails while swap cannot be switched off"
systemctl -q enable vram-swap
[[ $(units_enabled) == *vram-swap-sleep@suspend.service* ]] ||
  fail "not enabled: $(units_enabled)"
pretend_daemon 3
! apt remove nbdkit-plugin-gpuram >log 2>&1 || fail "removed under swap"
logged "not removed, because swap in VRAM cannot be switched off"
[ "$(sort -u requests)" = stop ] ||
  fail "the removal made these requests: $(cat requests)"
for file in /usr/bin/vram-swap "$plugins/nbdkit-gpuram-plugin.so"; do
  [ -e "$file" ] || fail "$file has gone"
done
end_daemon

step "a removal keeps the settings, and a purge leaves nothing"
succeeds apt remove nbdkit-plugin-gpuram vram-swap
[ -e /etc/nbdkit-vram.conf ] || fail "the removal has removed the settings"
[ -z "$(units_enabled)" ] || fail "links to units are left: $(units_enabled)"
succeeds apt install ./debs/*.deb
succeeds apt purge nbdkit-plugin-gpuram vram-swap
rm -rf /run/driver
snapshot >after
diff before after || fail "the purge has left files"
dpkg-query -W -f '${db:Status-Status}\n' nbdkit-plugin-gpuram vram-swap \
  >status 2>/dev/null || :
! grep -v not-installed status ||
  fail "dpkg still knows the packages"
echo "all passed"
