# nbdkit-vram: what becomes of a machine under memory pressure whose server has only some of the protections
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
#
# GUARD is none (resident = no), locked (in RAM, but no I/O flusher, and the OOM killer may choose it), or all.
. ./guest.sh
install_project
without=()
case ${GUARD:-all} in
  none) resident=no ;;
  locked) resident=yes without=(setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource) ;;
  all) resident=required ;;
esac
settings 'size = 384M' 'min-size = 384M' 'connections = 4' 'threads = 16' "resident = $resident"
export STANDIN_CUDA_MEMORY=400M
"${without[@]}" vram-swap serve >/run/serve.log 2>&1 &
keeper=$!
expect 0 vram-swap wait-server $keeper
lock_vram $keeper
server=$(pgrep -P $keeper -x nbdkit)
expect 0 vram-swap up
echo "$GUARD: flags of the server's threads: $(awk '{ printf "%x ", $9 }' "/proc/$server/task/"*/stat | cut -c 1-9)," \
  "locked $(awk '$1 == "VmLck:" { print $2 }' "/proc/$server/status") kB, OOM score $(cat "/proc/$server/oom_score_adj")"
# The kernel itself says on the console who waits for what, when nobody else can say anything any more.
echo 40 >/proc/sys/kernel/hung_task_timeout_secs
part=$((($(awk '$1 == "MemAvailable:" { print int ($2 / 1024) }' /proc/meminfo) + 280) / 4))
fillers=()
for order in random random onward onward; do
  ./memfill $part $order >/run/memfill.${#fillers[@]} 2>&1 &
  fillers+=($!)
done
for i in 0 1 2 3; do
  until grep -q filled /run/memfill.$i; do sleep 0.5; done
done
sleep 20
kill "${fillers[@]}"
for pid in "${fillers[@]}"; do
  wait "$pid" || fail "memfill: $(cat /run/memfill.*)"
done
[ "$(pgrep -P $keeper -x nbdkit)" = "$server" ] || fail "the server is another one"
echo "$GUARD: survived, $(awk '{ print int ($7 / 2048) }' /sys/block/nbd0/stat) MiB swapped out"
expect 0 vram-swap down
finish
