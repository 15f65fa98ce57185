/* nbdkit-vram: the machine's swaps
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "msg.h"
#include "root.h"
#include "run.h"
#include "swaps.h"

/* In the first page of a swap device, as the kernel's include/linux/swap.h has
 * it: 1024 bytes for a boot loader, three 32-bit numbers, the UUID, the label.
 */
#define UUID_AT   (1024 + 3 * 4)
#define LABEL_AT  (UUID_AT + 16)
#define LABEL_MAX 16

#define LABEL_MS 5000 /* for a read that takes less than one */

static const char our_label[LABEL_MAX] = "vram-swap";

/* /proc/swaps writes blanks in a path as \040 and so on. */
static void
unescape (char *s)
{
  char *to = s;

  while (*s) {
    if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' &&
        s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
      *to++ = (s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0');
      s += 4;
    }
    else
      *to++ = *s++;
  }
  *to = '\0';
}

static int
by_priority (const void *a, const void *b)
{
  const struct swap *left = a, *right = b;

  return (left->priority < right->priority) -
         (left->priority > right->priority);
}

/* Takes the last word off LINE. */
static char *
last_word (char *line)
{
  char *end = line + strlen (line);

  while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
    *--end = '\0';
  while (end > line && end[-1] != ' ' && end[-1] != '\t')
    end--;
  if (end > line)
    end[-1] = '\0';
  return end;
}

/* A line of /proc/swaps: path, type, size, used and priority. */
static bool
parse_line (char *line, struct swap *swap)
{
  const char *priority = last_word (line), *used = last_word (line),
             *size = last_word (line), *type = last_word (line);

  if (sscanf (size, "%" SCNd64, &swap->size) != 1 ||
      sscanf (used, "%" SCNd64, &swap->used) != 1 ||
      sscanf (priority, "%d", &swap->priority) != 1)
    return false;
  line[strcspn (line, " \t")] = '\0';
  unescape (line);
  snprintf (swap->path, sizeof swap->path, "%s", line);
  swap->is_file = strcmp (type, "file") == 0;
  swap->size *= 1024;
  swap->used *= 1024;
  return line[0] != '\0';
}

int
swaps_read (struct swaps *s)
{
  const char *path = root_path ("/proc/swaps");
  /* A path whose every byte is escaped, and the rest of the line. */
  char buf[4 * PATH_MAX + 256], *line;
  struct lines l;
  unsigned n = 0;

  s->n = 0;
  if (!lines_open (&l, path, buf, sizeof buf)) {
    log_error ("%s: %m", path);
    return -1;
  }
  while ((line = lines_next (&l)) != NULL && s->n < SWAPS_MAX) {
    /* The first line is the heading. */
    if (n++ == 0 || *line == '\0')
      continue;
    if (!parse_line (line, &s->swap[s->n])) {
      log_error ("%s: cannot read line %u", path, n);
      lines_close (&l);
      return -1;
    }
    s->n++;
  }
  lines_close (&l);
  qsort (s->swap, s->n, sizeof s->swap[0], by_priority);
  return 0;
}

bool
swap_is_zram (const struct swap *swap)
{
  return strncmp (swap->path, "/dev/zram", 9) == 0;
}

int
swap_format (const char *device)
{
  const char *argv[] = { "mkswap", "-L", our_label, device, NULL };
  struct run r = { .limit = 60 };

  if (run (&r, argv, NULL, NULL) == -1) {
    log_error ("mkswap %s: %s", device, run_reason (&r));
    return -1;
  }
  return 0;
}

bool
swap_identify (const void *start, char *id)
{
  const unsigned char *p = start;

  if (memcmp (p + LABEL_AT, our_label, sizeof our_label) != 0)
    return false;
  for (size_t i = 0; i < SWAP_ID / 2; i++)
    sprintf (id + 2 * i, "%02x", p[UUID_AT + i]);
  return true;
}

bool
swap_has_label (const char *device)
{
  const char *path = root_path ("%s", device);
  const long long deadline = now_ms () + LABEL_MS;
  char start[SWAP_START], id[SWAP_ID + 1];
  int status = 1;
  pid_t pid = fork ();

  if (pid == 0) {
    /* It may outlive this process. */
    closefrom (STDERR_FILENO + 1);
    _exit (read (open (path, O_RDONLY), start, sizeof start) != sizeof start ||
           !swap_identify (start, id));
  }
  while (pid > 0 && waitpid (pid, &status, WNOHANG) == 0) {
    if (now_ms () >= deadline)
      return false;
    usleep (10000);
  }
  return pid > 0 && WIFEXITED (status) && WEXITSTATUS (status) == 0;
}

int
swap_on (const char *device, int priority, const char *discard)
{
  int flags = SWAP_FLAG_PREFER |
              ((priority << SWAP_FLAG_PRIO_SHIFT) & SWAP_FLAG_PRIO_MASK);

  if (strcmp (discard, "once") == 0)
    flags |= SWAP_FLAG_DISCARD | 0x20000; /* SWAP_FLAG_DISCARD_ONCE */
  else if (strcmp (discard, "pages") == 0)
    flags |= SWAP_FLAG_DISCARD | 0x40000; /* SWAP_FLAG_DISCARD_PAGES */
  else if (strcmp (discard, "both") == 0)
    flags |= SWAP_FLAG_DISCARD;

  if (swapon (device, flags) == -1) {
    log_error ("swapon %s: %m", device);
    return -1;
  }
  return 0;
}
