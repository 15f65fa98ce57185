/* nbdkit-vram: the stand-in driver's streams, each a thread with a queue, and
 * events
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <stdlib.h>
#include <unistd.h>

#include "standin.h"

/* All fields are guarded by the context's lock.  Work gets a serial number in
 * the order of issue over all streams of a context, and stays at the head of
 * its queue until it is done.
 */
struct stream {
  struct context *ctx;
  bool blocking;  /* orders itself with the NULL stream */
  bool destroyed; /* has no handle, and is freed when its work is done */
  bool closing;   /* the thread ends when the queue is empty */
  struct work *head, *tail;
  uint64_t issued, done; /* serial numbers */
  uint64_t asked;        /* with LATE, work up to here may be done */
  pthread_cond_t work;   /* something was queued, or closing */
  pthread_cond_t idle;   /* some work is done */
  pthread_t thread;
  uint64_t random;
  struct stream *next;
};

struct event {
  uint64_t recorded, done; /* serial numbers */
  unsigned int pending;    /* records that are queued */
  bool destroyed;
  struct event *next;
};

static void (*_Atomic on_not_ready) (void);
static atomic_uint most_busy;

static void
pause_randomly (struct stream *s)
{
  uint64_t usec;

  if (!config.delay_max)
    return;
  s->random = s->random * 6364136223846793005ULL + 1442695040888963407ULL;
  usec = config.delay_min +
         (s->random >> 33) % (config.delay_max - config.delay_min + 1);
  usleep ((useconds_t) usec);
}

/* The rule of the legacy default stream: its work waits for all earlier work
 * on blocking streams, and theirs for all earlier work on it.
 */
static bool
must_wait (const struct stream *s, const struct work *w)
{
  const struct context *ctx = s->ctx;
  const struct stream *t;

  if (s == ctx->null_stream) {
    for (t = ctx->streams; t; t = t->next)
      if (t != s && t->blocking && t->head && t->head->serial < w->serial)
        return true;
    return false;
  }
  t = ctx->null_stream;
  return s->blocking && t->head && t->head->serial < w->serial;
}

static void
work_free (struct work *w)
{
  free (w->staged);
  free (w);
}

static void
event_free (struct context *ctx, struct event *e)
{
  struct event **p;

  for (p = &ctx->events; *p != e; p = &(*p)->next)
    ;
  *p = e->next;
  free (e);
  report_resource (RES_EVENT, -1, 0);
}

/* Whether the head of S, if there is one, may be done. */
static bool
may_begin (const struct stream *s)
{
  return s->head &&
         (!config.late || s->closing || s->head->serial <= s->asked);
}

/* With LATE: lets S do its work up to the serial number ASKED; under the lock.
 */
static void
allow (struct stream *s, uint64_t asked)
{
  if (s->asked >= asked)
    return;
  s->asked = asked;
  pthread_cond_signal (&s->work);
}

/* A query of S: with LATE, lets S do one piece of its work, and the events
 * behind it; under the lock.
 */
static void
ask (struct stream *s)
{
  const struct work *w = s->head;

  if (!config.late || !w)
    return;
  while (w->kind == WORK_EVENT && w->next)
    w = w->next;
  while (w->next && w->next->kind == WORK_EVENT)
    w = w->next;
  allow (s, w->serial);
  while (s->head && may_begin (s) && !fault_hung (s->head->number) &&
         !fault_lost (s->ctx->dev))
    pthread_cond_wait (&s->idle, &s->ctx->lock);
}

/* Takes the head off the queue, done or dropped. */
static void
pop (struct stream *s, bool done)
{
  struct work *w = s->head;
  struct event *e = w->event;

  s->head = w->next;
  if (!s->head)
    s->tail = NULL;
  if (done)
    s->done = w->serial;
  if (e) {
    e->pending--;
    if (done)
      e->done = w->serial;
    if (e->destroyed && !e->pending)
      event_free (s->ctx, e);
  }
  work_free (w);
  pthread_cond_broadcast (&s->idle);
  pthread_cond_broadcast (&s->ctx->changed);
}

static void
stream_unlink_and_free (struct stream *s)
{
  struct stream **p;

  for (p = &s->ctx->streams; *p != s; p = &(*p)->next)
    ;
  *p = s->next;
  pthread_cond_destroy (&s->work);
  pthread_cond_destroy (&s->idle);
  free (s);
}

static void *
run (void *arg)
{
  struct stream *s = arg;
  struct context *ctx = s->ctx;
  struct work *w;
  CUresult r;

  pthread_mutex_lock (&ctx->lock);
  for (;;) {
    while (!may_begin (s) && !(s->closing && !s->head))
      pthread_cond_wait (&s->work, &ctx->lock);
    w = s->head;
    if (!w)
      break;
    if (fault_lost (ctx->dev)) {
      pop (s, false);
      continue;
    }
    pthread_mutex_unlock (&ctx->lock);
    pause_randomly (s);
    fault_poll ();
    if (config.lose_copy && w->number >= config.lose_copy)
      fault_lose (-1, config.lose_code);
    pthread_mutex_lock (&ctx->lock);

    while (!fault_lost (ctx->dev) &&
           (fault_hung (w->number) || must_wait (s, w)))
      pthread_cond_wait (&ctx->changed, &ctx->lock);
    if (fault_lost (ctx->dev))
      continue;
    pthread_mutex_unlock (&ctx->lock);

    r = copy_execute (ctx, w);
    if (r)
      fault_lose (ctx->dev, r);
    pthread_mutex_lock (&ctx->lock);
    pop (s, r == CUDA_SUCCESS);
  }
  if (s->destroyed) {
    /* No thread joins this one. */
    stream_unlink_and_free (s);
    pthread_cond_broadcast (&ctx->changed);
  }
  pthread_mutex_unlock (&ctx->lock);
  return NULL;
}

/* Makes a stream; under the lock. */
static struct stream *
make (struct context *ctx, bool blocking)
{
  static uint64_t count;
  struct stream *s = calloc (1, sizeof *s);

  if (!s)
    return NULL;
  s->ctx = ctx;
  s->blocking = blocking;
  s->random = config.seed * 1000003 + ++count;
  pthread_cond_init (&s->work, NULL);
  pthread_cond_init (&s->idle, NULL);
  s->next = ctx->streams;
  ctx->streams = s;
  if (thread_start (&s->thread, run, s) != 0) {
    stream_unlink_and_free (s);
    return NULL;
  }
  return s;
}

bool
stream_begin (struct context *ctx)
{
  ctx->null_stream = make (ctx, true);
  return ctx->null_stream != NULL;
}

void
stream_end (struct context *ctx)
{
  struct stream *s;
  pthread_t thread;

  pthread_mutex_lock (&ctx->lock);
  for (s = ctx->streams; s; s = s->next) {
    s->closing = true;
    pthread_cond_signal (&s->work);
  }
  /* The NULL stream is freed last, because the others use it. */
  for (;;) {
    for (s = ctx->streams; s; s = s->next)
      if (!s->destroyed && s != ctx->null_stream)
        break;
    if (!s)
      break;
    thread = s->thread;
    pthread_mutex_unlock (&ctx->lock);
    pthread_join (thread, NULL);
    pthread_mutex_lock (&ctx->lock);
    stream_unlink_and_free (s);
    report_resource (RES_STREAM, -1, 0);
  }
  while (ctx->streams && ctx->streams->next)
    pthread_cond_wait (&ctx->changed, &ctx->lock);
  thread = ctx->null_stream->thread;
  pthread_mutex_unlock (&ctx->lock);
  pthread_join (thread, NULL);
  pthread_mutex_lock (&ctx->lock);
  stream_unlink_and_free (ctx->null_stream);
  ctx->null_stream = NULL;
  while (ctx->events)
    event_free (ctx, ctx->events);
  pthread_mutex_unlock (&ctx->lock);
}

struct stream *
stream_get (struct context *ctx, CUstream handle)
{
  struct stream *s;

  pthread_mutex_lock (&ctx->lock);
  if (!handle || handle == CU_STREAM_LEGACY)
    s = ctx->null_stream;
  else
    for (s = ctx->streams; s; s = s->next)
      if (s == handle && s != ctx->null_stream && !s->destroyed)
        break;
  pthread_mutex_unlock (&ctx->lock);
  return s;
}

/* Waits for serial number TARGET; under the lock. */
static CUresult
wait_done (struct stream *s, uint64_t target)
{
  allow (s, target);
  while (s->done < target && !fault_lost (s->ctx->dev))
    pthread_cond_wait (&s->idle, &s->ctx->lock);
  return s->done >= target ? CUDA_SUCCESS : fault_lost (s->ctx->dev);
}

/* Under the lock. */
static void
count_busy (struct context *ctx)
{
  unsigned busy = 0;

  for (const struct stream *s = ctx->streams; s; s = s->next)
    busy += s->head != NULL;
  if (busy > atomic_load (&most_busy))
    atomic_store (&most_busy, busy);
}

CUresult
stream_issue (struct context *ctx, struct stream *s, struct work *work,
              bool wait)
{
  CUresult r = CUDA_SUCCESS;

  if (!work)
    return CUDA_ERROR_OUT_OF_MEMORY;
  work->next = NULL;
  pthread_mutex_lock (&ctx->lock);
  work->serial = ++ctx->serial;
  s->issued = work->serial;
  if (work->event) {
    work->event->recorded = work->serial;
    work->event->pending++;
  }
  if (s->tail)
    s->tail->next = work;
  else
    s->head = work;
  s->tail = work;
  count_busy (ctx);
  pthread_cond_signal (&s->work);
  if (wait)
    r = wait_done (s, s->issued);
  pthread_mutex_unlock (&ctx->lock);
  return r;
}

CUresult
stream_wait_all (struct context *ctx)
{
  uint64_t target;
  struct stream *s;
  CUresult r = CUDA_SUCCESS;

  pthread_mutex_lock (&ctx->lock);
  target = ctx->serial;
again:
  r = fault_lost (ctx->dev);
  for (s = ctx->streams; s; s = s->next)
    allow (s, target);
  for (s = ctx->streams; s && !r; s = s->next)
    if (s->head && s->head->serial <= target) {
      /* The stream may have been freed during the wait, so start again. */
      pthread_cond_wait (&ctx->changed, &ctx->lock);
      goto again;
    }
  pthread_mutex_unlock (&ctx->lock);
  return r;
}

void
stream_wake (struct context *ctx)
{
  struct stream *s;

  pthread_mutex_lock (&ctx->lock);
  for (s = ctx->streams; s; s = s->next)
    pthread_cond_broadcast (&s->idle);
  pthread_cond_broadcast (&ctx->changed);
  pthread_mutex_unlock (&ctx->lock);
}

void
stream_on_not_ready (void (*fn) (void))
{
  atomic_store (&on_not_ready, fn);
}

/* Returns R, the result of a query whether work is done. */
static CUresult
answer (CUresult r)
{
  void (*fn) (void) = atomic_load (&on_not_ready);

  if (r == CUDA_ERROR_NOT_READY && fn)
    fn ();
  return r;
}

unsigned
stream_pending (void)
{
  unsigned n = 0;

  for (int i = 0; i < config.devices; i++) {
    struct context *ctx = &contexts[i];

    pthread_mutex_lock (&ctx->lock);
    for (const struct stream *s = ctx->streams; s; s = s->next)
      for (const struct work *w = s->head; w; w = w->next)
        n++;
    pthread_mutex_unlock (&ctx->lock);
  }
  return n;
}

unsigned
stream_most_busy (void)
{
  return atomic_load (&most_busy);
}

EXPORT CUresult
cuStreamCreate (CUstream *stream, unsigned int flags)
{
  struct context *ctx;
  CUresult r = enter (FN_cuStreamCreate, &ctx);

  if (r)
    return r;
  if (!stream || (flags & ~(unsigned int) CU_STREAM_NON_BLOCKING))
    return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock (&ctx->lock);
  *stream = make (ctx, !(flags & CU_STREAM_NON_BLOCKING));
  pthread_mutex_unlock (&ctx->lock);
  if (!*stream)
    return CUDA_ERROR_OUT_OF_MEMORY;
  report_resource (RES_STREAM, 1, 0);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuStreamDestroy_v2 (CUstream stream)
{
  struct context *ctx;
  CUresult r = enter (FN_cuStreamDestroy_v2, &ctx);
  struct stream *s;

  if (r)
    return r;
  s = stream_get (ctx, stream);
  if (!s || s == ctx->null_stream)
    return CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock (&ctx->lock);
  s->closing = true;
  pthread_cond_signal (&s->work);
  report_resource (RES_STREAM, -1, 0);
  if (s->head) {
    if (config.late)
      settings_fatal ("a stream that has work to do is destroyed");
    /* Returns at once.  Queued work still runs. */
    s->destroyed = true;
    pthread_detach (s->thread);
    pthread_mutex_unlock (&ctx->lock);
    return CUDA_SUCCESS;
  }
  pthread_mutex_unlock (&ctx->lock);
  pthread_join (s->thread, NULL);
  pthread_mutex_lock (&ctx->lock);
  stream_unlink_and_free (s);
  pthread_mutex_unlock (&ctx->lock);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuStreamQuery (CUstream stream)
{
  struct context *ctx;
  CUresult r = enter (FN_cuStreamQuery, &ctx);
  struct stream *s;

  if (r)
    return r;
  s = stream_get (ctx, stream);
  if (!s)
    return CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock (&ctx->lock);
  ask (s);
  r = fault_lost (ctx->dev);
  if (!r && s->head)
    r = CUDA_ERROR_NOT_READY;
  pthread_mutex_unlock (&ctx->lock);
  return answer (r);
}

EXPORT CUresult
cuStreamSynchronize (CUstream stream)
{
  struct context *ctx;
  CUresult r = enter (FN_cuStreamSynchronize, &ctx);
  struct stream *s;

  if (r)
    return r;
  s = stream_get (ctx, stream);
  if (!s)
    return CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock (&ctx->lock);
  r = wait_done (s, s->issued);
  pthread_mutex_unlock (&ctx->lock);
  return r;
}

static struct event *
event_get (struct context *ctx, CUevent handle)
{
  struct event *e;

  pthread_mutex_lock (&ctx->lock);
  for (e = ctx->events; e; e = e->next)
    if (e == handle && !e->destroyed)
      break;
  pthread_mutex_unlock (&ctx->lock);
  return e;
}

EXPORT CUresult
cuEventCreate (CUevent *event, unsigned int flags)
{
  struct context *ctx;
  CUresult r = enter (FN_cuEventCreate, &ctx);
  struct event *e;

  if (r)
    return r;
  if (!event || (flags & ~(unsigned int) CU_EVENT_FLAGS_MASK))
    return CUDA_ERROR_INVALID_VALUE;
  e = calloc (1, sizeof *e);
  if (!e)
    return CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock (&ctx->lock);
  e->next = ctx->events;
  ctx->events = e;
  pthread_mutex_unlock (&ctx->lock);
  report_resource (RES_EVENT, 1, 0);
  *event = e;
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuEventDestroy_v2 (CUevent event)
{
  struct context *ctx;
  CUresult r = enter (FN_cuEventDestroy_v2, &ctx);
  struct event *e;

  if (r)
    return r;
  e = event_get (ctx, event);
  if (!e)
    return CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock (&ctx->lock);
  e->destroyed = true;
  if (!e->pending)
    event_free (ctx, e);
  pthread_mutex_unlock (&ctx->lock);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuEventRecord (CUevent event, CUstream stream)
{
  struct context *ctx;
  CUresult r = enter (FN_cuEventRecord, &ctx);
  struct event *e;
  struct stream *s;
  struct work *w;

  if (r)
    return r;
  e = event_get (ctx, event);
  s = stream_get (ctx, stream);
  if (!e || !s)
    return CUDA_ERROR_INVALID_HANDLE;
  w = calloc (1, sizeof *w);
  if (w) {
    w->kind = WORK_EVENT;
    w->event = e;
  }
  return stream_issue (ctx, s, w, false);
}

/* A query of event E, or a wait for it if WAIT; under the lock. */
static void
ask_event (struct context *ctx, const struct event *e, bool wait)
{
  for (struct stream *s = ctx->streams; s; s = s->next)
    for (const struct work *w = s->head; w; w = w->next)
      if (w->event == e) {
        if (wait)
          allow (s, w->serial);
        else
          ask (s);
        return;
      }
}

static CUresult
event_wait (enum function fn, CUevent event, bool wait)
{
  struct context *ctx;
  CUresult r = enter (fn, &ctx);
  struct event *e;
  uint64_t target;

  if (r)
    return r;
  e = event_get (ctx, event);
  if (!e)
    return CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock (&ctx->lock);
  /* An event that was never recorded is done. */
  target = e->recorded;
  if (config.late)
    ask_event (ctx, e, wait);
  while (wait && e->done < target && !fault_lost (ctx->dev))
    pthread_cond_wait (&ctx->changed, &ctx->lock);
  r = fault_lost (ctx->dev);
  if (!r && e->done < target)
    r = CUDA_ERROR_NOT_READY;
  pthread_mutex_unlock (&ctx->lock);
  return answer (r);
}

EXPORT CUresult
cuEventQuery (CUevent event)
{
  return event_wait (FN_cuEventQuery, event, false);
}

EXPORT CUresult
cuEventSynchronize (CUevent event)
{
  return event_wait (FN_cuEventSynchronize, event, true);
}
