/* nbdkit-vram: a command's side of the control socket
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "control-socket.h"
#include "msg.h"
#include "progress.h"

#define ANSWER_MS 5000 /* for an answer that the daemon has at once */

struct connection {
  int fd;
  size_t used, taken;
  char text[2 * CONTROL_LINE_MAX];
};

static int
send_line (const struct connection *c, struct json *j)
{
  char line[CONTROL_LINE_MAX];
  const long n = json_line (j, line, sizeof line);

  return n > 0 && send (c->fd, line, n, MSG_NOSIGNAL) == n ? 0 : -1;
}

/* The next line as an object; NULL when the daemon has hung up, or at the end
 * of the time limit (-1: none).
 */
static struct json_t *
next (struct connection *c, int ms, bool *cancelled)
{
  for (;;) {
    struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
    char *end = memchr (c->text, '\n', c->used);
    struct json_t *object;
    ssize_t n;

    if (end) {
      object = json_read (c->text, end - c->text);
      c->used -= end + 1 - c->text;
      memmove (c->text, end + 1, c->used);
      if (object)
        return object;
      continue;
    }
    if (cancelled && interrupted () && !*cancelled) {
      /* The daemon takes that for the end of this process, and answers when
       * what was asked for is undone.  Another signal ends the wait for that.
       */
      *cancelled = true;
      shutdown (c->fd, SHUT_WR);
      signal (SIGINT, SIG_DFL);
      signal (SIGTERM, SIG_DFL);
      signal (SIGHUP, SIG_DFL);
    }
    n = poll (&pfd, 1, ms);
    if (n == 0)
      return NULL;
    if (n == -1)
      continue;
    n = recv (c->fd, c->text + c->used, sizeof c->text - c->used, 0);
    if (n == -1 && errno == EINTR)
      continue;
    if (n <= 0)
      return NULL;
    c->used += n;
  }
}

static void
print_message (const struct json_t *object)
{
  const char *severity = json_text (object, "severity");
  const char *text = json_text (object, "text");

  if (strcmp (severity, log_level_name (LOG_LEVEL_ERROR)) == 0)
    log_error ("%s", text);
  else if (strcmp (severity, log_level_name (LOG_LEVEL_WARNING)) == 0)
    log_warning ("%s", text);
  else
    log_info ("%s", text);
}

/* Connect and send what J holds, and free it. */
static bool
send_request (struct connection *c, struct json *j)
{
  *c = (struct connection){ .fd = control_connect () };
  if (c->fd == -1) {
    json_line (j, c->text, sizeof c->text);
    return false;
  }
  if (send_line (c, j) == 0)
    return true;
  close (c->fd);
  return false;
}

/* Print what the daemon tells until it answers.  Returns the exit status that
 * it answers with, or -1 when it has hung up.
 */
static int
wait_answer (struct connection *c, bool *cancelled)
{
  struct progress p = { .total = 0 };
  struct json_t *object;
  const char *event;
  int64_t status = -1;

  while (status == -1 && (object = next (c, -1, cancelled)) != NULL) {
    event = json_text (object, "event");
    if (strcmp (event, "message") == 0)
      print_message (object);
    else if (strcmp (event, "progress") == 0)
      progress_show (&p, json_text (object, "what"),
                     json_number (object, "total"),
                     json_number (object, "left"));
    else if (!event[0] && json_get_number (object, "status", &status) &&
             json_text (object, "error")[0])
      log_error ("%s", json_text (object, "error"));
    json_free (object);
  }
  return status;
}

int
client_ask (struct json *j)
{
  static struct connection c;
  bool cancelled = false;
  int status;

  if (!send_request (&c, j))
    return -1;
  status = wait_answer (&c, &cancelled);
  close (c.fd);
  if (cancelled && status != 0)
    return EXIT_INTERRUPTED;
  if (status != -1)
    return status;
  log_error ("the daemon exited before it answered; see its log (journalctl "
             "-u vram-swap)");
  return EXIT_FAILED;
}

int
client_keep (struct json *j, int *status)
{
  static struct connection c;

  if (!send_request (&c, j))
    return -1;
  *status = wait_answer (&c, NULL);
  if (*status != -1)
    return c.fd;
  close (c.fd);
  return -1;
}

struct json_t *
client_get (const char *request)
{
  static struct connection c;
  struct json_t *object;
  struct json j;

  json_begin (&j);
  json_add_string (&j, "request", request);
  if (!send_request (&c, &j))
    return NULL;
  object = next (&c, ANSWER_MS, NULL);
  close (c.fd);
  return object;
}
