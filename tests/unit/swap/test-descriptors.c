/* nbdkit-vram: tests how vram-swap keeps the descriptors of a disk
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "disk/superblock.h"
#include "descriptors.h"
#include "test.h"

static unsigned
count_open (void)
{
  unsigned n = 0;

  for (int fd = 0; fd < 300; fd++)
    n += fcntl (fd, F_GETFD) != -1;
  return n;
}

static bool
is_open (int fd)
{
  return fcntl (fd, F_GETFD) != -1;
}

/* Inheritable, so that it can be seen when that is taken away. */
static int
some_file (void)
{
  return open ("/dev/null", O_RDWR);
}

/* Where NAME is kept, or -1. */
static int
find (const struct descriptors *d, const char *name)
{
  for (size_t i = 0; i < d->n; i++)
    if (strcmp (d->one[i].name, name) == 0)
      return d->one[i].fd;
  return -1;
}

static void
let_all_go (struct descriptors *d)
{
  while (d->n > 0)
    descriptors_remove (d, d->one[0].name);
}

static void
test_names (void)
{
  CHECK (descriptors_know ("vram-state"));
  CHECK (descriptors_know ("vram-gpu"));
  CHECK (!descriptors_know ("vram-probe"));
  CHECK (descriptors_know ("vram-chunk-0"));
  CHECK (descriptors_know ("vram-chunk-127"));
  CHECK (!descriptors_know (""));
  CHECK (!descriptors_know ("stored"));
  CHECK (!descriptors_know ("vram-states"));
  CHECK (!descriptors_know ("vram-chun"));
  CHECK (!descriptors_know ("xvram-chunk-0"));
  /* It has to fit with its end. */
  CHECK (descriptors_know ("vram-chunk-01234567890123456789"));
  CHECK (!descriptors_know ("vram-chunk-012345678901234567890"));
}

static void
test_keep (void)
{
  static struct descriptors d;
  const unsigned had = count_open ();
  int chunk0 = some_file (), chunk1 = some_file (), chunk2 = some_file ();
  int state = some_file (), another = some_file (), alien = some_file ();
  char buf[200], expected[200];

  CHECK (!descriptors_complete (&d));
  CHECK (strcmp (descriptors_adopt (&d, buf, sizeof buf), "adopt=") == 0);
  descriptors_add (&d, "vram-chunk-0", chunk0);
  descriptors_add (&d, "vram-chunk-1", chunk1);
  descriptors_add (&d, "vram-chunk-2", chunk2);
  CHECK (d.n == 3 && !descriptors_complete (&d));
  descriptors_add (&d, "vram-state", state);
  CHECK (d.n == 4 && descriptors_complete (&d));
  CHECK (fcntl (chunk0, F_GETFD) & FD_CLOEXEC);
  CHECK (fcntl (state, F_GETFD) & FD_CLOEXEC);

  snprintf (expected, sizeof expected,
            "adopt=%d:vram-chunk-0,%d:vram-chunk-1,%d:vram-chunk-2,"
            "%d:vram-state",
            chunk0, chunk1, chunk2, state);
  CHECK (descriptors_adopt (&d, buf, sizeof buf) == buf);
  CHECK (strcmp (buf, expected) == 0);
  /* Cut where there is no room, and no further. */
  memset (buf, 'x', sizeof buf);
  descriptors_adopt (&d, buf, 30);
  CHECK (strlen (buf) == 29 && strncmp (buf, expected, 29) == 0);
  for (size_t i = 30; i < sizeof buf; i++)
    CHECK (buf[i] == 'x');

  /* The next server's of that name. */
  descriptors_add (&d, "vram-chunk-1", another);
  CHECK (d.n == 4 && !is_open (chunk1));
  CHECK (find (&d, "vram-chunk-1") == another);
  CHECK (find (&d, "vram-chunk-0") == chunk0);
  CHECK (find (&d, "vram-chunk-2") == chunk2);

  descriptors_add (&d, "alien", alien);
  CHECK (d.n == 4 && !is_open (alien));

  descriptors_inherit (&d);
  CHECK (!(fcntl (chunk0, F_GETFD) & FD_CLOEXEC));
  CHECK (!(fcntl (another, F_GETFD) & FD_CLOEXEC));
  CHECK (!(fcntl (state, F_GETFD) & FD_CLOEXEC));

  descriptors_remove (&d, "vram-chunk-9");
  CHECK (d.n == 4);
  descriptors_remove (&d, "vram-state");
  CHECK (d.n == 3 && !is_open (state) && !descriptors_complete (&d));
  /* By the name that is kept, too. */
  CHECK (d.one[0].fd == chunk0);
  descriptors_remove (&d, d.one[0].name);
  CHECK (d.n == 2 && !is_open (chunk0));
  CHECK (find (&d, "vram-chunk-1") == another);
  CHECK (find (&d, "vram-chunk-2") == chunk2);
  let_all_go (&d);
  CHECK (count_open () == had);
}

/* As many as a disk can have, and one more. */
static void
test_many (void)
{
  static struct descriptors d;
  static char adopt[DESCRIPTORS_MAX * 48];
  const unsigned had = count_open ();
  char name[32], *item, *rest;
  unsigned items = 0;
  int last;

  for (unsigned i = 0; i < DESCRIPTORS_MAX; i++) {
    snprintf (name, sizeof name, "vram-chunk-%u", i);
    descriptors_add (&d, name, some_file ());
  }
  CHECK (d.n == DESCRIPTORS_MAX && count_open () == had + DESCRIPTORS_MAX);
  last = some_file ();
  descriptors_add (&d, "vram-state", last);
  CHECK (d.n == DESCRIPTORS_MAX && !is_open (last));
  CHECK (!descriptors_complete (&d));
  /* One of them anew is not one more. */
  descriptors_add (&d, "vram-chunk-5", some_file ());
  CHECK (d.n == DESCRIPTORS_MAX && count_open () == had + DESCRIPTORS_MAX);

  descriptors_adopt (&d, adopt, sizeof adopt);
  rest = adopt + strlen ("adopt=");
  while ((item = strsep (&rest, ","))) {
    int fd = atoi (item);

    item = strchr (item, ':');
    CHECK (item && find (&d, item + 1) == fd);
    items++;
  }
  CHECK (items == DESCRIPTORS_MAX);
  let_all_go (&d);
  CHECK (count_open () == had);
}

/* How many KiB of this process are locked. */
static long
locked (void)
{
  FILE *fp = fopen ("/proc/self/status", "r");
  char line[256];
  long kib = -1;

  while (fp && fgets (line, sizeof line, fp))
    if (sscanf (line, "VmLck: %ld", &kib) == 1)
      break;
  if (fp)
    fclose (fp);
  return kib;
}

/* What is known of the disk is kept in RAM for as long as it is kept. */
static void
test_lock (void)
{
  static struct descriptors d;
  const long before = locked ();
  int fd = memfd_create ("test", 0);

  CHECK (ftruncate (fd, 8192) == 0);
  descriptors_add (&d, "vram-state", fd);
  CHECK (d.one[0].locked && d.one[0].size == 8192);
  /* The lock may be refused here, and valgrind only pretends to lock. */
  CHECK (locked () == before + 8 || locked () == before);
  descriptors_remove (&d, "vram-state");
  CHECK (locked () == before);
  CHECK (d.n == 0 && !is_open (fd));

  /* Nothing in it to be locked; that is for the server to say. */
  descriptors_add (&d, "vram-state", memfd_create ("test", 0));
  CHECK (d.n == 1 && !d.one[0].locked);
  let_all_go (&d);
}

/* What the keeper says to the server by the state, and the server to it. */
static void
test_words (void)
{
  static struct descriptors d;
  struct superblock_header header = { .version = SUPERBLOCK_VERSION,
                                      .block_size = 4096 };
  int fd = memfd_create ("test", 0);
  struct superblock_shared words = { .generation = 0 };

#define READ_WORDS                                                            \
  CHECK (pread (fd, &words, sizeof words, SUPERBLOCK_SHARED_AT) ==            \
         sizeof words)
#define WRITE_WORDS                                                           \
  CHECK (pwrite (fd, &words, sizeof words, SUPERBLOCK_SHARED_AT) ==           \
         sizeof words)

  CHECK (ftruncate (fd, 8192) == 0);
  CHECK (pwrite (fd, &header, sizeof header, 0) == sizeof header);
  descriptors_tell (&d, true);
  descriptors_add (&d, "vram-state", fd);
  READ_WORDS;
  CHECK (words.supervisor == SUPERVISOR_NONE);
  descriptors_tell (&d, false);
  READ_WORDS;
  CHECK (words.supervisor == SUPERVISOR_KEEPS);
  descriptors_tell (&d, true);
  READ_WORDS;
  CHECK (words.supervisor == SUPERVISOR_ENDS);
  CHECK (descriptors_complete (&d));
  words.ended = 1;
  WRITE_WORDS;
  CHECK (!descriptors_complete (&d));

  /* Another version's may be anywhere. */
  header.version = SUPERBLOCK_VERSION_ELASTIC + 1;
  CHECK (pwrite (fd, &header, sizeof header, 0) == sizeof header);
  CHECK (descriptors_complete (&d));
  descriptors_tell (&d, false);
  READ_WORDS;
  CHECK (words.supervisor == SUPERVISOR_ENDS);
  let_all_go (&d);

  /* A superblock that is too short has none. */
  fd = memfd_create ("test", 0);
  header.version = SUPERBLOCK_VERSION;
  CHECK (ftruncate (fd, SUPERBLOCK_SHARED_AT) == 0);
  CHECK (pwrite (fd, &header, sizeof header, 0) == sizeof header);
  descriptors_add (&d, "vram-state", fd);
  CHECK (descriptors_complete (&d));
  descriptors_tell (&d, false);
  let_all_go (&d);
}

/* As systemd starts us: with FDS descriptors from 3 on, called NAMES. */
static void
start (const char *pid, const char *fds, const char *names, unsigned open_fds)
{
  char self[16];

  /* Other descriptors that this process inherited do not count. */
  for (int fd = 3; fd < 20; fd++)
    close (fd);
  for (unsigned i = 0; i < open_fds; i++)
    CHECK (some_file () == 3 + (int) i);
  snprintf (self, sizeof self, "%ld", (long) getpid ());
  setenv ("LISTEN_PID", pid ? pid : self, 1);
  setenv ("LISTEN_FDS", fds, 1);
  if (names)
    setenv ("LISTEN_FDNAMES", names, 1);
  else
    unsetenv ("LISTEN_FDNAMES");
}

/* Of those that are ours. */
static bool
two_alike (const char *names)
{
  const char *again = names ? strstr (names, "vram-chunk-0") : NULL;

  if (names && strncmp (names, "vram-state:vram-state", 21) == 0)
    return true;
  return again && strstr (again + 1, "vram-chunk-0");
}

static void
test_take (void)
{
  static const struct {
    const char *pid, *fds, *names;
    const char
        *kept; /* names of descriptors 3 and on, - for one that is closed,
                         + for one that is left alone */
  } cases[] = {
    { NULL, "3", "vram-chunk-0:vram-chunk-1:vram-state",
      "vram-chunk-0 vram-chunk-1 vram-state" },
    { NULL, "3", "vram-state:vram-chunk-0:vram-chunk-1",
      "vram-state vram-chunk-0 vram-chunk-1" },
    /* Others'. */
    { NULL, "3", "vram-chunk-0:stored:vram-state",
      "vram-chunk-0 - vram-state" },
    { NULL, "2", "my.socket:other.socket", "- -" },
    { NULL, "2", ":", "- -" },
    /* Without names, or with too few. */
    { NULL, "2", NULL, "- -" },
    { NULL, "2", "", "- -" },
    { NULL, "3", "vram-chunk-0:vram-state", "vram-chunk-0 vram-state -" },
    /* With more names than descriptors: those do not exist. */
    { NULL, "1", "vram-chunk-0:vram-state", "vram-chunk-0 +" },
    /* Two of one name: both are kept, and the disk cannot be taken over. */
    { NULL, "2", "vram-state:vram-state", "vram-state +" },
    { NULL, "4", "vram-chunk-0:vram-chunk-1:vram-chunk-0:vram-state",
      "vram-chunk-0 vram-chunk-1 + vram-state" },
    { NULL, "2", "stored:stored", "- -" },
    /* For another process, or no number. */
    { "1", "1", "vram-state", "+" },
    { "", "1", "vram-state", "+" },
    { NULL, "0", "", "+" },
    { NULL, "-1", "vram-state", "+" },
    { NULL, "x", "vram-state", "+" },
    { NULL, "", "vram-state", "+" },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int status = -1;
    pid_t child = fork ();

    if (child == 0) {
      static struct descriptors d;
      char kept[200], *name, *rest = kept;
      unsigned n = 1, known = 0;

      failures = 0;
      snprintf (kept, sizeof kept, "%s", cases[i].kept);
      for (const char *p = kept; *p; p++)
        n += *p == ' ';
      start (cases[i].pid, cases[i].fds, cases[i].names, n);
      descriptors_take (&d);
      CHECK (d.ambiguous == two_alike (cases[i].names));
      for (int fd = 3; (name = strsep (&rest, " ")); fd++) {
        CHECK (is_open (fd) == (*name != '-'));
        if (*name != '-' && *name != '+') {
          CHECK (find (&d, name) == fd);
          CHECK (fcntl (fd, F_GETFD) & FD_CLOEXEC);
          known++;
        }
      }
      CHECK (d.n == known);
      CHECK (descriptors_complete (&d) ==
             (find (&d, "vram-state") != -1 && !d.ambiguous));
      /* nbdkit would take them for sockets. */
      CHECK (!getenv ("LISTEN_PID") && !getenv ("LISTEN_FDS") &&
             !getenv ("LISTEN_FDNAMES"));
      _exit (failures ? 1 : 0);
    }
    if (waitpid (child, &status, 0) != child || status != 0) {
      fprintf (stderr, "case %zu of LISTEN_FDS\n", i);
      failures++;
    }
  }
}

/* The same file twice, as systemd may have it, is one. */
static void
test_take_twice (void)
{
  static struct descriptors d;
  pid_t child = fork ();
  int status = -1;

  if (child == 0) {
    start (NULL, "2", "vram-state:vram-state", 1);
    CHECK (dup (3) == 4);
    descriptors_take (&d);
    CHECK (!d.ambiguous && d.n == 1 && descriptors_complete (&d));
    CHECK (is_open (3) && !is_open (4));
    _exit (failures ? 1 : 0);
  }
  CHECK (waitpid (child, &status, 0) == child && status == 0);
}

/* What the servers have written down about the disk. */
static void
test_facts (void)
{
  static struct descriptors d;
  struct superblock_header header = {
    .version = SUPERBLOCK_VERSION,
    .block_size = 4096,
    .disk_size = 19 * 4096,
  };
  struct superblock_shared shared = {
    .generation = 3,
    .lost = 4,
    .copy_path = COPY_PATH_DMA,
    .copy_reason = "no mapping",
    .gpu_name = "Some GPU",
    .gpu_pci = "0000:01:00.0",
  };
  /* Bits beyond the disk's end do not count. */
  const unsigned char bits[3] = { 0xff, 0x01, 0xff };
  const int fd = memfd_create ("test", 0);

  CHECK (!descriptors_header (&d) && !descriptors_shared (&d));
  CHECK (ftruncate (fd, 8192) == 0);
  CHECK (pwrite (fd, &header, sizeof header, 0) == sizeof header);
  CHECK (pwrite (fd, &shared, sizeof shared, SUPERBLOCK_SHARED_AT) ==
         sizeof shared);
  CHECK (pwrite (fd, bits, sizeof bits, 4096) == sizeof bits);
  descriptors_add (&d, "vram-state", fd);
  CHECK (descriptors_header (&d)->disk_size == 19 * 4096);
  CHECK (descriptors_shared (&d)->generation == 3);
  CHECK (strcmp (descriptors_shared (&d)->gpu_name, "Some GPU") == 0);
  CHECK (descriptors_used (&d) == 12 * 4096);
  let_all_go (&d);
}

/* Nothing at all. */
static void
test_take_nothing (void)
{
  static struct descriptors d;
  const unsigned had = count_open ();

  unsetenv ("LISTEN_PID");
  unsetenv ("LISTEN_FDS");
  unsetenv ("LISTEN_FDNAMES");
  descriptors_take (&d);
  CHECK (!d.ambiguous && d.n == 0 && count_open () == had);
}

int
main (void)
{
  test_names ();
  test_keep ();
  test_many ();
  test_lock ();
  test_words ();
  test_take ();
  test_take_twice ();
  test_facts ();
  test_take_nothing ();
  FINISH;
}
