/* nbdkit-vram: keeps the stand-in driver's VRAM from being swapped
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * lockvram PID [FOR]
 * lockvram FOLDER
 *
 * The stand-in of server PID keeps VRAM in memory files. The kernel would swap
 * them to the very disk that is made of them, which cannot happen with a GPU's
 * VRAM. This program maps and locks the files, so that they are allocated in
 * full, writes "locked" and the number of MiB, and runs until process FOR
 * (default: PID) ends. With FOLDER it locks the files there, and runs until it
 * is killed.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int
main (int argc, char **argv)
{
  const bool pool = argc == 2 && argv[1][0] == '/';
  const pid_t pid = argc >= 2 && !pool ? atol (argv[1]) : 1;
  const pid_t with = argc == 3 ? atol (argv[2]) : pid;
  char folder[64], path[320], target[128];
  const struct dirent *entry;
  size_t locked = 0;
  FILE *adj;
  DIR *dir;

  if (pool)
    snprintf (folder, sizeof folder, "%s", argv[1]);
  else
    snprintf (folder, sizeof folder, "/proc/%ld/fd", (long) pid);
  dir = opendir (folder);
  if (!dir) {
    perror (folder);
    return 1;
  }
  while ((entry = readdir (dir)) != NULL) {
    struct stat st;
    ssize_t n;
    void *p;
    int fd;

    snprintf (path, sizeof path, "%s/%s", folder, entry->d_name);
    n = readlink (path, target, sizeof target - 1);
    if (n == -1 && !pool)
      continue;
    target[n == -1 ? 0 : n] = '\0';
    if (pool ? entry->d_name[0] == '.'
             : strncmp (target, "/memfd:stand-in VRAM", 20) != 0)
      continue;
    fd = open (path, O_RDWR | O_CLOEXEC);
    if (fd == -1 || fstat (fd, &st) == -1) {
      perror (path);
      return 1;
    }
    p = mmap (NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED || mlock (p, st.st_size) == -1) {
      perror (path);
      return 1;
    }
    close (fd);
    locked += st.st_size;
  }
  closedir (dir);
  adj = fopen ("/proc/self/oom_score_adj", "w");
  if (!adj || fputs ("-1000", adj) == EOF || fclose (adj) == EOF) {
    perror ("oom_score_adj");
    return 1;
  }
  if (locked == 0) {
    fprintf (stderr, "lockvram: %s has no VRAM\n", folder);
    return 1;
  }
  printf ("locked %zu MiB\n", locked >> 20);
  fflush (stdout);
  while (kill (with, 0) == 0)
    sleep (1);
  return 0;
}
