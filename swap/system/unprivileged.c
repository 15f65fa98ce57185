/* nbdkit-vram: the user that the server runs as
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "msg.h"
#include "unprivileged.h"

#define CAPABILITIES                                                          \
  (UINT32_C (1) << CAP_IPC_LOCK | UINT32_C (1) << CAP_SYS_RESOURCE)

int
unprivileged_find (struct unprivileged *u, const char *user)
{
  const struct passwd *entry;

  *u = (struct unprivileged){ .same = geteuid () != 0 ||
                                      strcmp (user, "root") == 0,
                              .uid = geteuid (),
                              .gid = getegid () };
  if (u->same)
    return 0;
  entry = getpwnam (user);
  if (!entry) {
    log_error ("user '%s', which the server runs as, does not exist; run "
               "systemd-sysusers or 'useradd --system %s'",
               user, user);
    return -1;
  }
  u->uid = entry->pw_uid;
  u->gid = entry->pw_gid;
  u->n_groups = sizeof u->groups / sizeof u->groups[0];
  if (getgrouplist (user, u->gid, u->groups, &u->n_groups) == -1) {
    log_error ("user '%s' is in too many groups", user);
    return -1;
  }
  return 0;
}

/* The wanted ones of those that this process has. */
static int
keep_capabilities (void)
{
  struct __user_cap_header_struct header = {
    .version = _LINUX_CAPABILITY_VERSION_3,
  };
  struct __user_cap_data_struct data[2];
  uint32_t mask;

  if (syscall (SYS_capget, &header, data) == -1)
    return -1;
  mask = data[0].permitted & CAPABILITIES;
  memset (data, 0, sizeof data);
  data[0].effective = data[0].permitted = data[0].inheritable = mask;
  if (syscall (SYS_capset, &header, data) == -1)
    return -1;
  for (unsigned n = 0; n < 32; n++)
    if (mask & UINT32_C (1) << n &&
        prctl (PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, n, 0, 0) == -1)
      return -1;
  return 0;
}

int
unprivileged_become (const struct unprivileged *u)
{
  const struct rlimit none = { 0, 0 };
  const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

  /* A core dump would hold other programs' memory. */
  setrlimit (RLIMIT_CORE, &none);
  setrlimit (RLIMIT_MEMLOCK, &all); /* not without CAP_SYS_RESOURCE */
  if (u->same)
    return 0;
  /* EINVAL: the kernel knows no more of them; EPERM: it may not drop them. */
  for (unsigned n = 0; n < 64; n++)
    if (!(n < 32 && CAPABILITIES & UINT32_C (1) << n) &&
        prctl (PR_CAPBSET_DROP, n, 0, 0, 0) == -1 && errno == EINVAL)
      break;
  if (prctl (PR_SET_KEEPCAPS, 1, 0, 0, 0) == -1 ||
      setgroups (u->n_groups, u->groups) == -1 ||
      setresgid (u->gid, u->gid, u->gid) == -1 ||
      setresuid (u->uid, u->uid, u->uid) == -1 || keep_capabilities () == -1)
    return -1;
  return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
