/* nbdkit-vram: tests what nbdkit-vram.conf may say
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "test.h"

static char file[64];

/* Loads TEXT; what the loader said on stderr ends up in SAID. */
static char said[4096];

static int
load_file (struct conf *c, const char *name)
{
  int keep = dup (STDERR_FILENO), ret;
  FILE *tmp = tmpfile ();
  size_t n;

  fflush (stderr);
  dup2 (fileno (tmp), STDERR_FILENO);
  ret = conf_load (c, name, false);
  fflush (stderr);
  dup2 (keep, STDERR_FILENO);
  close (keep);
  rewind (tmp);
  n = fread (said, 1, sizeof said - 1, tmp);
  said[n] = '\0';
  fclose (tmp);
  return ret;
}

static int
load (struct conf *c, const char *text)
{
  test_write (file, text);
  return load_file (c, file);
}

static struct conf defaults;

static void
test_defaults (void)
{
  struct conf c;

  CHECK (load (&c, "") == 0);
  CHECK (said[0] == '\0');
  for (unsigned k = 0; k < CONF_KEYS; k++) {
    CHECK (strcmp (conf_text (&c, k), conf_text (&defaults, k)) == 0);
    CHECK (c.item[k].line == 0);
  }
  conf_free (&c);
}

/* Each default must pass its own check, or writing it out would fail. */
static void
test_defaults_are_valid (void)
{
  struct conf c;
  char text[4096] = "";
  size_t used = 0;

  for (unsigned k = 0; k < CONF_KEYS; k++)
    used += snprintf (text + used, sizeof text - used, "%s = %s\n",
                      conf_name (k), conf_text (&defaults, k));
  CHECK (load (&c, text) == 0);
  CHECK (said[0] == '\0');
  conf_free (&c);
}

static void
test_values (void)
{
  struct conf c;

  CHECK (load (&c, "# a comment\n\n"
                   "\t size =  7G \r\n"
                   "priority=100\n"
                   "device = NVIDIA GeForce #1\n"
                   "timeout = 10min\n"
                   "power-policy = down-below=20%\n") == 0);
  CHECK (strcmp (conf_text (&c, CONF_SIZE), "7G") == 0);
  CHECK (c.item[CONF_SIZE].line == 3);
  CHECK (conf_number (&c, CONF_PRIORITY) == 100);
  CHECK (strcmp (conf_text (&c, CONF_DEVICE), "NVIDIA GeForce #1") == 0);
  CHECK (conf_timeout (&c) == 600);
  CHECK (conf_number (&c, CONF_GPU_TIMEOUT) == 20);
  CHECK (conf_battery_threshold (&c) == 20);
  CHECK (conf_number (&c, CONF_MIN_SIZE) == INT64_C (512) << 20);
  conf_free (&c);
}

/* Several connections must never be left to the kernel's 30 s. */
/* A small size needs no min-size. */
static void
test_min_size (void)
{
  struct conf c;

  CHECK (load (&c, "size = 256M\n") == 0);
  CHECK (conf_number (&c, CONF_MIN_SIZE) == 256 << 20);
  conf_free (&c);
  CHECK (load (&c, "size = 1G\n") == 0);
  CHECK (conf_number (&c, CONF_MIN_SIZE) == 512 << 20);
  conf_free (&c);
}

static void
test_timeouts (void)
{
  struct conf c;

  CHECK (load (&c, "connections = 4\n") == 0);
  CHECK (conf_timeout (&c) >= 30);
  conf_free (&c);
  CHECK (load (&c, "connections = 1\n") == 0);
  CHECK (conf_timeout (&c) == 0);
  conf_free (&c);

  /* One connection without any, and what is more than gpu-timeout. */
  CHECK (load (&c, "timeout = 0\nconnections = 1\ngpu-timeout = 1h\n") == 0);
  conf_free (&c);
  CHECK (load (&c, "timeout = 0\nconnections = 4\n") == 0);
  conf_free (&c);
  CHECK (load (&c, "timeout = 21s\n") == 0);
  conf_free (&c);
  CHECK (load (&c, "timeout = 5s\ngpu-timeout = 4s\n") == 0);
  conf_free (&c);
}

static void
refused (const char *text, const char *words)
{
  struct conf c;

  CHECK (load (&c, text) == -1);
  if (!strstr (said, words)) {
    fprintf (stderr, "'%s' gave '%s', wanted '%s'\n", text, said, words);
    failures++;
  }
  conf_free (&c);
}

static void
test_refusals (void)
{
  struct conf c;
  char where[160];

  snprintf (where, sizeof where, "%s:2: unknown key 'sizes'", file);
  refused ("size = 1G\nsizes = 1G\n", where);
  snprintf (where, sizeof where, "%s:2: size is already set in line 1", file);
  refused ("size = 1G\nsize = 2G\n", where);
  refused ("size\n", ":1: expected KEY = VALUE");
  refused ("[swap]\n", ":1: sections are not supported; write KEY = VALUE");

  refused ("size =\n", ":1: invalid size ''; expected a size of at least 4K");
  refused ("size = 0%\n", "expected a size");
  refused ("size = 101%\n", "expected a size");
  refused ("size = -1G\n", "expected a size");
  refused ("size = 7GB\n", "expected a size");
  refused ("size = 0\n", "expected a size");
  refused ("size = 9999999999T\n", "expected a size");
  refused ("priority = 32768\n", "expected a number from 0 to 32767");
  refused ("priority = 10x\n", "expected a number");
  refused ("threads = 0\n", "expected a number from 1");
  refused ("socket = run/x\n", "expected an absolute path");
  refused ("nbd-device = /dev/nbd0p1\n", "whole device");
  refused ("nbd-device = /dev/sda\n", "whole device");
  refused ("timeout = 1d\n", "expected auto or a time");
  refused ("gpu-timeout = 0\n", "from 1s to 1h");
  refused ("gpu-timeout = 2h\n", "from 1s to 1h");
  snprintf (where, sizeof where,
            "%s:2: invalid timeout '5s'; expected auto or more than "
            "gpu-timeout (20 s)",
            file);
  refused ("connections = 4\ntimeout = 5s\n", where);
  refused ("connections = 1\ntimeout = 20\n", "more than gpu-timeout (20 s)");
  refused ("timeout = 1min\ngpu-timeout = 2min\n",
           ":1: invalid timeout '1min'; expected auto");
  refused (
      "timeout = 0\nconnections = 2\ngpu-timeout = 30s\n",
      ":1: invalid timeout '0', which means the kernel's 30 s with several");
  refused ("spill = yes\n", "expected the absolute path of a folder, or none");
  refused ("spill = var/lib\n", "expected the absolute path of a folder");
  refused ("discard = yes\n", "expected no, once, pages or both");
  refused ("power-policy = down-below=20\n", "down-below=N%");
  refused ("power-policy = down-below=0%\n", "down-below=N%");
  refused ("sleep-policy = never\n", "expected auto, drain or keep");

  refused ("spare = 2G\n",
           "invalid spare '2G'; expected auto or a size of at most 1G");
  refused ("start-timeout = 0\n",
           "invalid start-timeout '0'; expected a time of at least");
  refused ("min-size = 2G\nsize = 1G\n",
           ":2: invalid size '1G'; expected at least min-size (2G)");
  refused ("min-size = 512M\nsize = 256M\n",
           ":2: invalid size '256M'; expected at least min-size (512M)");
  refused ("min-size = 0\n",
           ":1: invalid min-size '0'; expected a size of at least 4K");
  refused ("outage-timeout = 0\n",
           ":1: invalid outage-timeout '0'; expected a time of at least 1s");
  refused ("elastic = no\nlimit = 4G\n",
           ":2: invalid limit '4G'; it needs elastic = yes");
  refused ("plugin = /no/such/file.so\n",
           ":1: invalid plugin '/no/such/file.so': No such file");
  refused ("plugin = ./file.so\n", "a file with its absolute path");

  /* All that is wrong, not only the first. */
  CHECK (load (&c, "x = 1\ny = 2\n") == -1);
  CHECK (strstr (said, ":1:") && strstr (said, ":2:"));
  conf_free (&c);
}

static void
test_what_is_no_text (void)
{
  struct conf c;
  FILE *fp = fopen (file, "w");

  CHECK (fp && fwrite ("size = 7G\nmin-size = 1G\0 7\n", 1, 27, fp) == 27 &&
         fclose (fp) == 0);
  CHECK (load_file (&c, file) == -1);
  CHECK (strstr (said, ":2: a NUL byte: not a text file"));
  conf_free (&c);
  CHECK (load_file (&c, "/") == -1);
  CHECK (strstr (said, "error: /: Is a directory"));
  conf_free (&c);
}

/* Root reads no file that others can write. */
static void
test_trust (const char *folder)
{
  struct conf c;

  if (geteuid () != 0) {
    fprintf (stderr, "skipped test_trust: not root\n");
    return;
  }
  CHECK (load (&c, "priority = 7\n") == 0);
  conf_free (&c);

  chmod (file, 0664);
  CHECK (load_file (&c, file) == -1);
  CHECK (
      strstr (said, "conf: not trusted: writable by users other than root"));
  CHECK (conf_number (&c, CONF_PRIORITY) == 1500);
  conf_free (&c);
  chmod (file, 0646);
  CHECK (load_file (&c, file) == -1);
  conf_free (&c);
  chmod (file, 0644);

  CHECK (chown (file, 65534, 0) == 0);
  CHECK (load_file (&c, file) == -1);
  CHECK (strstr (said, "conf: not trusted: not owned by root"));
  conf_free (&c);
  CHECK (chown (file, 0, 0) == 0);

  chmod (folder, 0775);
  CHECK (load_file (&c, file) == -1);
  CHECK (strstr (said, "writable by users other than root"));
  conf_free (&c);
  /* As in /tmp, where users cannot replace files of others. */
  chmod (folder, 01777);
  CHECK (load_file (&c, file) == 0);
  conf_free (&c);
  chmod (folder, 0700);
  CHECK (chown (folder, 65534, 0) == 0);
  CHECK (load_file (&c, file) == -1);
  CHECK (strstr (said, "not owned by root"));
  conf_free (&c);
  CHECK (chown (folder, 0, 0) == 0);
}

/* As the Makefile makes it, beside the test. */
#define INSTALLED_CONF "../../../swap/nbdkit-vram.conf"

/* The file that is installed: each key once, with its default, commented. */
static void
test_installed_file (void)
{
  static char text[16384];
  char line[256], wanted[256];
  unsigned found[CONF_KEYS] = { 0 };
  struct conf c;
  FILE *fp;

  fp = fopen (INSTALLED_CONF, "r");
  CHECK (fp != NULL);
  if (!fp)
    return;
  text[fread (text, 1, sizeof text - 1, fp)] = '\0';
  CHECK (load (&c, text) == 0);
  for (unsigned k = 0; k < CONF_KEYS; k++)
    CHECK (c.item[k].line == 0);
  conf_free (&c);

  rewind (fp);
  while (fgets (line, sizeof line, fp)) {
    if (line[0] != '#' || line[1] < 'a' || line[1] > 'z')
      continue;
    line[strcspn (line, "\n")] = '\0';
    for (unsigned k = 0; k < CONF_KEYS; k++) {
      snprintf (wanted, sizeof wanted, "#%s =%s%s", conf_name (k),
                conf_text (&defaults, k)[0] ? " " : "",
                conf_text (&defaults, k));
      found[k] += strcmp (line, wanted) == 0;
    }
  }
  for (unsigned k = 0; k < CONF_KEYS; k++)
    if (found[k] != 1) {
      fprintf (stderr, "%s: '#%s = %s' is there %u times\n", INSTALLED_CONF,
               conf_name (k), conf_text (&defaults, k), found[k]);
      failures++;
    }
  fclose (fp);
}

int
main (void)
{
  const char *folder = test_folder ();

  snprintf (file, sizeof file, "%s/conf", folder);
  CHECK (conf_load (&defaults, "/nonexistent/x.conf", true) == 0);
  test_defaults ();
  test_defaults_are_valid ();
  test_values ();
  test_min_size ();
  test_timeouts ();
  test_refusals ();
  test_what_is_no_text ();
  test_trust (folder);
  test_installed_file ();
  unlink (file);
  rmdir (folder);
  conf_free (&defaults);
  FINISH;
}
