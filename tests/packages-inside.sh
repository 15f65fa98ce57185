#!/usr/bin/env bash
# nbdkit-vram: in a root file system of Debian: installs packages, upgrades, uses, removes and purges them
# SPDX-License-Identifier: BSD-3-Clause
#
#   packages-inside.sh STANDIN [SUITE]   with the packages in ./debs, the stand-in driver in STANDIN, and, given SUITE,
#                                        with the tests of that build folder run with what is installed
#
# tests/check-packages runs it where nothing is lost: everything that the packages depend on is installed, there is no
# network, and the machine's own files are out of sight.

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

# says WORDS COMMAND...: the command may fail, but says this.
says ()
{
  local words=$1 out
  shift
  out=$("$@" 2>&1) || :
  [[ $out == *"$words"* ]] || fail "$*: '$words' is not in: $out"
}

apt ()
{
  apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# Every file, with its content or what tells that it has changed. What apt and dpkg note for themselves changes.
snapshot ()
{
  find / -xdev \( -path /build -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/log \
    -o -path /root \) -prune -o ! -path '/etc/*-' ! -path /etc/.pwd.lock \
    \( -type d -printf '%p %m %u %g\n' -o -path '/etc/*' -type f -exec sha256sum {} + -o -printf '%p %m %u %g %s %t %l\n' \) | sort
}

# older DEB...: the same packages in ./older, as if of a version before.
older ()
{
  local deb
  mkdir -p older
  for deb; do
    rm -rf work
    dpkg-deb -R "$deb" work
    sed -i -e 's/^Version: .*/Version: 0.0.1-1/' -e 's/(= [^)]*)/(= 0.0.1-1)/' work/DEBIAN/control
    dpkg-deb --root-owner-group -Znone -b work "older/$(basename "$deb")" >/dev/null
  done
  rm -rf work
}

# A daemon of vram-swap that answers each request with STATUS, and notes it in ./requests.
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
    answer.update ({"ok": True} if sys.argv[1] == "0" else {"error": "it would not fit"})
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

step "the version before"
apt install ./older/*.deb >install.log 2>&1 || { cat install.log; fail "apt-get install"; }
grep -q "systemctl enable --now vram-swap" install.log || fail "installing does not say how to go on"
[ -z "$(find /etc/systemd/system -name '*vram-swap*')" ] || fail "enabled on installation"
[ "$(id -gn vram-swap)" = vram-swap ] || fail "no user vram-swap"
echo "size = 1G" >>/etc/nbdkit-vram.conf

step "upgrade under a daemon"
pretend_daemon 0
apt install ./debs/*.deb >upgrade.log 2>&1 || { cat upgrade.log; fail "upgrade"; }
[ "$(cat requests)" = reload ] || fail "the upgrade asked the daemon for: $(cat requests)"
grep -q "^size = 1G" /etc/nbdkit-vram.conf || fail "the settings are others"
dpkg -l nbdkit-plugin-gpuram vram-swap | grep -q '0\.0\.1' && fail "not upgraded"
dpkg -l nbdkit-plugin-gpuram vram-swap | tail -n 2
end_daemon

step "an upgrade whose server would not start"
pretend_daemon 1
apt install --reinstall ./debs/*.deb >upgrade.log 2>&1 || { cat upgrade.log; fail "upgrade"; }
grep -q "the installed version is not in use yet" upgrade.log || fail "the upgrade does not say that it is not in use"
end_daemon

step "nbdkit gpuram"
plugins=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
export LD_LIBRARY_PATH=$standin
nbdkit gpuram --dump-plugin | grep -E '^(name|version|vram_num_devices)='
nbdkit gpuram --dump-plugin | grep -qx name=gpuram || fail "--dump-plugin has another name"
head -c 16M /dev/urandom >data
# shellcheck disable=SC2016 # nbdkit's
nbdkit -U - gpuram size=16M min-size=16M --run 'nbdcopy data "$uri" && nbdcopy "$uri" back'
cmp data back
rm data back
if [ -e "$plugins/nbdkit-vram-plugin.so" ]; then
  dpkg -S "$plugins/nbdkit-vram-plugin.so"
  says "vram_" nbdkit vram --help
  nbdkit vram --dump-plugin | grep -qx name=vram || fail "nbdkit's own plugin vram is gone"
  nbdkit vram --dump-plugin | grep -q vram_superblock_version && fail "nbdkit vram is this project's plugin"
  step "a setting of old means this project's plugin, and nbdkit's own is another one"
  cp /etc/nbdkit-vram.conf conf
  echo "plugin = vram" >>/etc/nbdkit-vram.conf
  says "nbdkit's 'vram' is another plugin of that name" vram-swap check
  says "fix: set plugin = gpuram" vram-swap check
  cp conf /etc/nbdkit-vram.conf
fi
# Its own user asks nbdkit, and has to get at the stand-in.
cp -a "$standin" /run/driver
LD_LIBRARY_PATH=/run/driver vram-swap check | tee check.log | grep -E 'plugin|configuration|libcuda' || :
grep -q "nbdkit loads 'gpuram', with these settings" check.log || fail "check: $(cat check.log)"
unset LD_LIBRARY_PATH
for file in /usr/share/man/man{1/nbdkit-gpuram-plugin.1,5/nbdkit-vram.conf.5,8/vram-swap.8}.gz; do
  # Roots may leave out documentation.
  [ ! -e "$file" ] || ! zcat "$file" | grep -nE 'nbdkit vram|nbdkit-vram-plugin' || fail "$file has another name of the plugin"
done

if [ -n "$suite" ]; then
  step "the tests, with what is installed"
  VRAM_PLUGIN=$plugins/nbdkit-gpuram-plugin.so VRAM_SWAP=/usr/sbin/vram-swap \
    make -C "$suite/tests/nbd" -k -j"$(($(nproc) * 2))" check >suite.log 2>&1 || :
fi

step "removing while swap cannot be switched off"
systemctl -q enable vram-swap
[ -n "$(find /etc/systemd/system -name 'vram-swap-sleep@suspend.service')" ] || fail "not enabled"
pretend_daemon 3
! apt remove nbdkit-plugin-gpuram >remove.log 2>&1 || fail "removed under swap"
grep "not removed, because swap in VRAM cannot be switched off" remove.log || fail "no reason is given: $(cat remove.log)"
[ "$(sort -u requests)" = stop ] || fail "the removal asked the daemon for: $(cat requests)"
for file in /usr/sbin/vram-swap "$plugins/nbdkit-gpuram-plugin.so"; do
  [ -e "$file" ] || fail "$file has gone"
done
end_daemon

step "remove and purge"
apt remove nbdkit-plugin-gpuram vram-swap >remove.log 2>&1 || { cat remove.log; fail "remove"; }
[ -e /etc/nbdkit-vram.conf ] || fail "removing takes the settings along"
[ -z "$(find /etc/systemd/system -name '*vram-swap*')" ] || fail "what sleeps requires units that are gone"
apt install ./debs/*.deb >install.log 2>&1 || { cat install.log; fail "install"; }
apt purge nbdkit-plugin-gpuram vram-swap >purge.log 2>&1 || { cat purge.log; fail "purge"; }
rm -rf /run/driver
snapshot >after
diff before after || fail "purging leaves something behind"
! dpkg-query -W -f '${db:Status-Status}\n' nbdkit-plugin-gpuram vram-swap 2>/dev/null | grep -v not-installed ||
  fail "dpkg still knows the packages"
echo "nothing is left of them"
