/* nbdkit-vram: tests what vram-swap reads of the machine, on made-up ones
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ftw.h>
#include <linux/genetlink.h>
#include <linux/magic.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include "gpu.h"
#include "nbd-device.h"
#include "nbd-netlink.h"
#include "policy.h"
#include "power.h"
#include "procmem.h"
#include "root.h"
#include "server.h"
#include "runstate.h"
#include "swaps.h"
#include "test.h"

/* A file of the made-up machine, with the folders on the way to it. */
static void
put (const char *path, const char *text)
{
  char full[512];

  snprintf (full, sizeof full, "%s", root_path ("%s", path));
  for (char *p = full + strlen (root_prefix) + 1; (p = strchr (p, '/')); p++) {
    *p = '\0';
    mkdir (full, 0755);
    *p = '/';
  }
  test_write (full, text);
}

static int
remove_one (const char *path, const struct stat *st, int type,
            struct FTW *where)
{
  (void) st;
  (void) type;
  (void) where;
  return remove (path);
}

static void
test_power (void)
{
  struct power p;

  power_read (&p);
  CHECK (!p.on_battery && p.charge == -1);

  put ("/sys/class/power_supply/AC/type", "Mains\n");
  put ("/sys/class/power_supply/AC/online", "1\n");
  power_read (&p);
  CHECK (!p.on_battery && p.charge == -1);

  put ("/sys/class/power_supply/BAT0/type", "Battery\n");
  put ("/sys/class/power_supply/BAT0/status", "Charging\n");
  put ("/sys/class/power_supply/BAT0/capacity", "80\n");
  put ("/sys/class/power_supply/BAT1/type", "Battery\n");
  put ("/sys/class/power_supply/BAT1/status", "Charging\n");
  put ("/sys/class/power_supply/BAT1/capacity", "30\n");
  power_read (&p);
  CHECK (!p.on_battery && p.charge == 30);

  /* It charges over a port that is not listed. */
  put ("/sys/class/power_supply/AC/online", "0\n");
  power_read (&p);
  CHECK (!p.on_battery && p.charge == 30);
  put ("/sys/class/power_supply/BAT0/status", "Not charging\n");
  put ("/sys/class/power_supply/BAT1/status", "Full\n");
  power_read (&p);
  CHECK (!p.on_battery);
  put ("/sys/class/power_supply/BAT0/status", "Discharging\n");
  power_read (&p);
  CHECK (p.on_battery && p.charge == 30);

  /* A mouse's battery does not count, and USB power counts as mains. */
  put ("/sys/class/power_supply/mouse/type", "Battery\n");
  put ("/sys/class/power_supply/mouse/scope", "Device\n");
  put ("/sys/class/power_supply/mouse/status", "Discharging\n");
  put ("/sys/class/power_supply/mouse/capacity", "3\n");
  power_read (&p);
  CHECK (p.on_battery && p.charge == 30);
  put ("/sys/class/power_supply/usb-c/type", "USB\n");
  put ("/sys/class/power_supply/usb-c/online", "1\n");
  power_read (&p);
  CHECK (!p.on_battery);
  put ("/sys/class/power_supply/usb-c/online", "0\n");
  put ("/sys/class/power_supply/BAT0/status", "Charging\n");
  power_read (&p);
  CHECK (!p.on_battery);
}

static void
test_power_policy (void)
{
  static const struct {
    const char *policy;
    int charge;
    bool battery, paused, down;
  } cases[] = {
    { "keep", 1, true, false, false },
    { "down-on-battery", 50, false, false, false },
    { "down-on-battery", 99, true, false, true },
    { "down-below=20%", 20, true, false, false },
    { "down-below=20%", 19, true, false, true },
    { "down-below=20%", 25, true, true, true }, /* until there is mains */
    { "down-below=20%", 5, false, true, false },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct power p = { cases[i].battery, cases[i].charge };
    struct conf c;
    char line[64];

    snprintf (line, sizeof line, "power-policy = %s\n", cases[i].policy);
    put ("/conf", line);
    CHECK (conf_load (&c, root_path ("/conf"), false) == 0);
    if (policy_power_low (&c, &p, cases[i].paused) != cases[i].down) {
      fprintf (stderr, "case %zu of the power policy\n", i);
      failures++;
    }
    conf_free (&c);
  }
}

static void
test_devices (void)
{
  struct runstate st = { .device = 1, .attach_pid = 77 };
  struct runstate back;
  pid_t pid;
  FILE *fp;

  put ("/sys/block/nbd0/size", "0\n");
  put ("/sys/block/nbd1/size", "2048\n");
  put ("/sys/block/nbd1/pid", "77\n");
  put ("/sys/block/nbd2/size", "0\n");
  CHECK (nbd_find_free (0) == 0);
  CHECK (nbd_find_free (1) == 2);
  CHECK (nbd_find_free (3) == -1);
  CHECK (nbd_size (1) == 1 << 20);
  CHECK (nbd_attached_by (1, &pid) && pid == 77);

  put (RUN_FOLDER "/x", "");
  put ("/proc/swaps", "Filename Type Size Used Priority\n");
  CHECK (runstate_write (&st) == 0);
  runstate_read (&back);
  CHECK (back.device == 1 && back.attach_pid == 77);
  CHECK (runstate_device (&back) == 1);
  /* Another process has attached it since. */
  put ("/sys/block/nbd1/pid", "78\n");
  CHECK (runstate_device (&back) == -1);

  /* Forgotten, but it is swap, and has our label. */
  put ("/proc/swaps", "Filename Type Size Used Priority\n"
                      "/dev/nbd1 partition 1020 0 1500\n");
  runstate_read (&back);
  CHECK (runstate_device (&back) == -1);
  CHECK (!runstate_find_device (&back, 0));
  put ("/sys/block/nbd1/mq/0/cpu_list", "0\n");
  put ("/sys/block/nbd1/mq/1/cpu_list", "1\n");
  put ("/sys/block/nbd1/mq/2/cpu_list", "2\n");
  CHECK (nbd_connections (1) == 3);
  CHECK (nbd_connections (2) == 1);
  put ("/dev/nbd1", "");
  CHECK (truncate (root_path ("/dev/nbd1"), 8192) == 0);
  fp = fopen (root_path ("/dev/nbd1"), "r+");
  CHECK (fseek (fp, 1052, SEEK_SET) == 0 && fputs ("vram-swap", fp) >= 0);
  fclose (fp);
  CHECK (runstate_find_device (&back, 0));
  CHECK (runstate_device (&back) == 1 && back.attach_pid == 78);
  /* As many new connections the next server needs. */
  CHECK (back.connections == 3);
}

/* The state file is gone, and so are daemon and server: a read from the device
 * waits for the server that the next daemon starts.
 */
static void
test_device_without_server (void)
{
  struct runstate st;

  CHECK (unlink (root_path ("/dev/nbd1")) == 0);
  CHECK (mkfifo (root_path ("/dev/nbd1"), 0600) == 0);
  runstate_reset (&st);
  CHECK (!runstate_find_device (&st, 0));
  CHECK (!runstate_find_device (&st, 1 << 21));
  CHECK (runstate_find_device (&st, 1 << 20));
  CHECK (st.device == 1 && st.size == 1 << 20);
  CHECK (unlink (root_path ("/dev/nbd1")) == 0);
}

/* However the swap on a device is called by now. */
static void
test_find_swap (void)
{
  static const struct {
    const char *path;
    bool found;
  } cases[] = {
    { "/dev/nbd1", true },   { "/dev/nbd1\\040(deleted)", true },
    { "/nbd1", true },       { "/nbd1\\040(deleted)", true },
    { "/dev/nbd12", false }, { "/nbd12", false },
    { "/mnt/nbd1", false },  { "/dev/nbd1p1", false },
  };
  static struct swaps s;
  char text[256];

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    snprintf (text, sizeof text,
              "Filename Type Size Used Priority\n"
              "%s partition 1020 0 1500\n",
              cases[i].path);
    put ("/proc/swaps", text);
    CHECK (swaps_read (&s) == 0);
    if ((nbd_find_swap (&s, 1) != NULL) != cases[i].found) {
      fprintf (stderr, "%s: found: %d\n", cases[i].path, !cases[i].found);
      failures++;
    }
  }
}

/* A label takes 16 bytes, the rest of them zero. */
static void
put_label (unsigned char *start, const char *label)
{
  char padded[16] = { 0 };

  snprintf (padded, sizeof padded, "%s", label);
  memcpy (start + 1052, padded, sizeof padded);
}

/* A swap is told from others, and from none, by how its disk begins. */
static void
test_identity (void)
{
  unsigned char start[SWAP_START] = { 0 };
  char id[SWAP_ID + 1] = "";

  CHECK (!swap_identify (start, id));
  put_label (start, "vram-swap");
  for (unsigned i = 0; i < 16; i++)
    start[1036 + i] = 0xf0 + i;
  CHECK (swap_identify (start, id));
  CHECK (strcmp (id, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff") == 0);
  put_label (start, "vram-swap2");
  CHECK (!swap_identify (start, id));
  put_label (start, "other");
  CHECK (!swap_identify (start, id));
}

/* Has the driver told of DEVICE? */
static bool
told (struct nbd_netlink *nl, int from, uint16_t family, uint8_t command,
      uint16_t attribute, uint32_t device)
{
  struct {
    struct nlmsghdr header;
    struct genlmsghdr generic;
    struct nlattr a;
    uint32_t value;
  } m = {
    .header = { .nlmsg_len = sizeof m, .nlmsg_type = family },
    .generic = { .cmd = command },
    .a = { .nla_len = sizeof m.a + sizeof m.value, .nla_type = attribute },
    .value = device,
  };

  CHECK (send (from, &m, sizeof m, 0) == sizeof m);
  return nbd_netlink_lost (nl, 3);
}

/* The driver tells everybody of each device. */
static void
test_lost (void)
{
  struct nbd_netlink nl = { .family = 33 };
  int ends[2];

  CHECK (socketpair (AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
  nl.fd = ends[0];
  CHECK (!nbd_netlink_lost (&nl, 3));
  CHECK (told (&nl, ends[1], 33, NBD_CMD_LINK_DEAD, NBD_ATTR_INDEX, 3));
  CHECK (!nbd_netlink_lost (&nl, 3));
  CHECK (!told (&nl, ends[1], 33, NBD_CMD_LINK_DEAD, NBD_ATTR_INDEX, 2));
  CHECK (!told (&nl, ends[1], 33, NBD_CMD_STATUS, NBD_ATTR_INDEX, 3));
  CHECK (!told (&nl, ends[1], 34, NBD_CMD_LINK_DEAD, NBD_ATTR_INDEX, 3));
  /* A message that does not name the device. */
  CHECK (told (&nl, ends[1], 33, NBD_CMD_LINK_DEAD, NBD_ATTR_TIMEOUT, 3));
  /* All that is there is taken. */
  CHECK (send (ends[1], "x", 1, 0) == 1);
  CHECK (told (&nl, ends[1], 33, NBD_CMD_LINK_DEAD, NBD_ATTR_INDEX, 3));
  CHECK (!nbd_netlink_lost (&nl, 3));
  close (ends[0]);
  close (ends[1]);
}

static void
test_processes (void)
{
  static char text[16384];
  struct procmem r;
  size_t n;

  /* 0x40580040 has both flags, 0x40480040 only one. */
  put ("/proc/42/status", "Name:\tx\nVmLck:\t  20 kB\nVmRSS:\t  10 kB\n"
                          "VmSwap:\t  4 kB\n");
  put ("/proc/42/oom_score_adj", "-1000\n");
  put ("/proc/42/task/42/stat", "42 (a ) b) S 1 42 42 0 -1 1079509056 0 0\n");
  put ("/proc/42/task/45/stat", "45 (a ) b) S 1 42 42 0 -1 1078460480 0 0\n");
  CHECK (procmem_read (&r, 42));
  CHECK (r.locked == 20480 && r.resident == 10240 && r.swapped == 4096);
  CHECK (r.oom_score_adj == -1000);
  CHECK (r.threads == 2 && r.io_flushers == 1);
  CHECK (!procmem_read (&r, 46));
  /* A process of 600 groups. */
  n = snprintf (text, sizeof text, "Name:\tx\nGroups:\t");
  for (unsigned i = 0; i < 600; i++)
    n += snprintf (text + n, sizeof text - n, "%u ", 1000000 + i);
  snprintf (text + n, sizeof text - n,
            "\nVmLck:\t20 kB\nVmRSS:\t10 kB\nVmSwap:\t4 kB\n");
  put ("/proc/42/status", text);
  CHECK (procmem_read (&r, 42));
  CHECK (r.locked == 20480 && r.resident == 10240 && r.swapped == 4096);
}

static void
test_gpu (void)
{
  char state[24];

  CHECK (gpu_preserves () == -1);
  put ("/proc/driver/nvidia/params",
       "A: 1\nPreserveVideoMemoryAllocations: 0\nB: 1\n");
  CHECK (gpu_preserves () == 0);
  put ("/proc/driver/nvidia/params", "PreserveVideoMemoryAllocations: 1\n");
  CHECK (gpu_preserves () == 1);

  put ("/sys/bus/pci/devices/0000:0a:00.0/power/runtime_status", "active\n");
  CHECK (gpu_power_state ("0000:0A:00.0", state, sizeof state));
  CHECK (strcmp (state, "active") == 0);
  put ("/sys/bus/pci/devices/0000:0a:00.0/resource",
       "0x00000000f0000000 0x00000000f0ffffff 0x0000000000040200\n"
       "0x0000006000000000 0x00000061ffffffff 0x000000000014220c\n"
       "0x0000000000000000 0x0000000000000000 0x0000000000000000\n");
  CHECK (gpu_largest_bar ("0000:0A:00.0") == INT64_C (8) << 30);
}

/* Whether swap is on during a suspend is up to where VRAM is saved. */
static bool
sleep_drains (const char *params)
{
  const char *why;
  struct conf c;
  bool drains;

  put ("/conf", "sleep-policy = auto\n");
  put ("/proc/driver/nvidia/params", params);
  CHECK (conf_load (&c, root_path ("/conf"), false) == 0);
  drains = policy_sleep_drains (&c, "suspend", &why);
  CHECK (policy_sleep_drains (&c, "hibernate", &why));
  CHECK (policy_sleep_drains (&c, "suspend-then-hibernate", &why));
  CHECK (policy_sleep_drains (&c, "hybrid-sleep", &why));
  conf_free (&c);
  return drains;
}

static void
test_sleep_policy (void)
{
  const unsigned in_ram[] = { TMPFS_MAGIC, RAMFS_MAGIC };
  struct statfs fs;
  bool tmpfs;

  put ("/disk/file", "");
  CHECK (statfs (root_path ("/disk"), &fs) == 0);
  tmpfs = fs.f_type == in_ram[0] || fs.f_type == in_ram[1];
  CHECK (sleep_drains ("PreserveVideoMemoryAllocations: 0\n"
                       "UseKernelSuspendNotifiers: 1\n"
                       "TemporaryFilePath: \"/disk\"\n"));
  /* Neither the kernel nor NVIDIA's service saves it. */
  CHECK (sleep_drains ("PreserveVideoMemoryAllocations: 1\n"
                       "UseKernelSuspendNotifiers: 0\n"
                       "TemporaryFilePath: \"/disk\"\n"));
  CHECK (sleep_drains ("PreserveVideoMemoryAllocations: 1\n"
                       "UseKernelSuspendNotifiers: 1\n"
                       "TemporaryFilePath: \"/disk\"\n") == tmpfs);
  put ("/etc/systemd/system/systemd-suspend.service.requires/"
       "nvidia-suspend.service",
       "");
  CHECK (sleep_drains ("PreserveVideoMemoryAllocations: 1\n"
                       "TemporaryFilePath: \"/disk\"\n") == tmpfs);
  /* In RAM, and nowhere. */
  CHECK (symlink ("/dev/shm", root_path ("/shm")) == 0);
  if (statfs ("/dev/shm", &fs) == 0 && fs.f_type == in_ram[0])
    CHECK (sleep_drains ("PreserveVideoMemoryAllocations: 1\n"
                         "TemporaryFilePath: \"/shm\"\n"));
  CHECK (sleep_drains ("PreserveVideoMemoryAllocations: 1\n"
                       "TemporaryFilePath: \"/nowhere\"\n"));
}

int
main (void)
{
  const char *folder = test_folder ();

  root_prefix = folder;
  test_power ();
  test_power_policy ();
  test_devices ();
  test_device_without_server ();
  test_find_swap ();
  test_identity ();
  test_lost ();
  test_processes ();
  test_gpu ();
  test_sleep_policy ();
  nftw (folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  FINISH;
}
