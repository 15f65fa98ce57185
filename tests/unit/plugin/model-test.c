/* nbdkit-vram: an NBD client that compares every byte that it reads with a
 * model
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Several connections have many requests in flight each, which overlap at
 * random.  The model knows for each byte which writes a read may show:
 *
 * Time is counted in events.  A request begins before it is sent, and ends
 * when its reply was received.  A read may show a write that began before the
 * read ended, unless another write began after the first one's end, and ended
 * before the read began.  "Write" means any change of bytes: zeroing and trims
 * write zeros, trims in whole blocks of 4 KiB only, as this disk promises.
 * When no request is in flight at a byte, every later read must show the same
 * as one read.  Each byte of a write that failed may or may not have been
 * written.
 *
 * Now and then the client waits until all requests have ended, gets the
 * extents (a hole reads as zeros; a block that was zeroed or trimmed last is a
 * hole), and reads the whole disk.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#include "check.h"

#define BLOCK    4096
#define KIB      1024U
#define MIB      (1024U * KIB)
#define LONGEST  (2U * MIB)
#define NEVER    UINT64_MAX
#define CONNS    16
#define DEPTHS   64
#define CONTEXT  "base:allocation"
#define HOLE     1U /* NBD_STATE_HOLE */
#define IS_ZEROS 2U /* NBD_STATE_ZERO */

/* ---- The command line ---- */

static const char *uri;
static unsigned connections = 4, depth = 16;
static uint64_t ops_wanted = 20000;
static unsigned seconds_wanted; /* 0: no limit */
static unsigned stall_seconds = 60;
static bool may_fail;       /* EIO is no error */
static uint64_t disk_limit; /* bytes of the disk to use, 0: all */

static uint64_t disk_size;
static struct rnd rnd;

/* The clock, which counts events. */
static uint64_t now;

/* ---- Sources: where bytes may come from ---- */

enum pattern {
  ALL_ZEROS, /* zeroing, trims, and the disk at first */
  DENSE,     /* no byte is zero */
  ZERO_BLOCKS,
  ZERO_SECTORS,
  LAST_BYTES, /* only the last byte of each block is not zero */
  FIRST_BYTES,
  WRITTEN_ZEROS, /* as ALL_ZEROS, but written as data */
};

struct source {
  enum pattern pattern;
  const char *what;
  uint64_t start, end; /* end 0: in flight */
  uint64_t offset;
  uint32_t count;
  bool failed;
};

static struct source *sources;
static uint32_t sources_count, sources_room;

static void *
grow (void *p, size_t n, size_t size)
{
  p = realloc (p, n * size);
  if (p == NULL) {
    fprintf (stderr, "out of memory\n");
    exit (EXIT_FAILURE);
  }
  return p;
}

static uint32_t
source_new (const char *what, enum pattern pattern, uint64_t offset,
            uint32_t count)
{
  if (sources_count == sources_room) {
    sources_room = sources_room ? 2 * sources_room : 4096;
    sources = grow (sources, sources_room, sizeof *sources);
  }
  sources[sources_count] = (struct source){
    .pattern = pattern,
    .what = what,
    .start = ++now,
    .offset = offset,
    .count = count,
  };
  return sources_count++;
}

static uint64_t
mix (uint64_t a, uint64_t b)
{
  uint64_t x = a * 0x9e3779b97f4a7c15 ^ (b + 0x2545f4914f6cdd1d);

  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  return x ^ (x >> 29);
}

/* Eight bytes of a dense source, none of them zero. */
static uint64_t
dense_word (uint32_t source, uint64_t word)
{
  return mix (source, word) | 0x0101010101010101;
}

/* Whether the unit of SIZE bytes with number N consists of zeros. */
static bool
is_zero_unit (uint32_t source, unsigned size, uint64_t n)
{
  return mix (source + size, n) & 1;
}

/* The byte that SOURCE has at POSITION of the disk. */
static unsigned char
byte_of (uint32_t source, uint64_t position)
{
  unsigned char byte =
      (dense_word (source, position / 8) >> (position % 8 * 8)) & 0xff;

  switch (sources[source].pattern) {
  case DENSE:
    return byte;
  case ZERO_BLOCKS:
    return is_zero_unit (source, BLOCK, position / BLOCK) ? 0 : byte;
  case ZERO_SECTORS:
    return is_zero_unit (source, 512, position / 512) ? 0 : byte;
  case LAST_BYTES:
    return position % BLOCK == BLOCK - 1 ? byte : 0;
  case FIRST_BYTES:
    return position % BLOCK == 0 ? byte : 0;
  case ALL_ZEROS:
  case WRITTEN_ZEROS:
    break;
  }
  return 0;
}

/* The COUNT bytes that SOURCE has at POSITION. */
static void
bytes_of (uint32_t source, uint64_t position, size_t count, unsigned char *buf)
{
  size_t i = 0;
  uint64_t word;

  if (sources[source].pattern == ALL_ZEROS ||
      sources[source].pattern == WRITTEN_ZEROS) {
    memset (buf, 0, count);
    return;
  }
  if (sources[source].pattern == DENSE) {
    for (; i < count && (position + i) % 8; ++i)
      buf[i] = byte_of (source, position + i);
    for (; i + 8 <= count; i += 8) {
      word = dense_word (source, (position + i) / 8);
      for (unsigned b = 0; b < 8; ++b)
        buf[i + b] = (word >> (b * 8)) & 0xff;
    }
  }
  for (; i < count; ++i)
    buf[i] = byte_of (source, position + i);
}

/* ---- The disk: the sources that each byte may show ---- */

struct candidate {
  uint32_t source;
  uint64_t superseded; /* reads that begin later do not show it */
};

/* Bytes of one block up to END that have the same candidates. */
struct segment {
  unsigned end;
  unsigned count;
  bool settled; /* by a read, not only by the order of writes */
  struct candidate *candidate;
};

struct block {
  unsigned count;
  struct segment *segment;
};

static struct block *blocks;
static unsigned most_candidates, most_segments;

/* When the oldest read in flight began.  It may show what was superseded after
 * that.
 */
static uint64_t oldest;
static uint64_t oldest_read (void);

static void
model_begin (void)
{
  uint32_t initial = source_new ("the empty disk", ALL_ZEROS, 0, 0);

  sources[initial].end = ++now;
  blocks = grow (NULL, disk_size / BLOCK, sizeof *blocks);
  for (uint64_t b = 0; b < disk_size / BLOCK; ++b) {
    blocks[b].count = 1;
    blocks[b].segment = grow (NULL, 1, sizeof (struct segment));
    blocks[b].segment[0] = (struct segment){ .end = BLOCK, .count = 1 };
    blocks[b].segment[0].candidate = grow (NULL, 1, sizeof (struct candidate));
    blocks[b].segment[0].candidate[0] = (struct candidate){ initial, NEVER };
  }
}

static void
model_end (void)
{
  for (uint64_t b = 0; b < disk_size / BLOCK; ++b) {
    for (unsigned s = 0; s < blocks[b].count; ++s)
      free (blocks[b].segment[s].candidate);
    free (blocks[b].segment);
  }
  free (blocks);
  free (sources);
}

static unsigned
segment_start (const struct block *block, unsigned s)
{
  return s == 0 ? 0 : block->segment[s - 1].end;
}

/* Makes a segment begin at byte AT of the block, and returns its number. */
static unsigned
split_at (struct block *block, unsigned at)
{
  unsigned s = 0;
  struct segment *new;

  while (s < block->count && block->segment[s].end <= at)
    ++s;
  if (segment_start (block, s) == at)
    return s;
  block->segment =
      grow (block->segment, block->count + 1, sizeof (struct segment));
  memmove (&block->segment[s + 1], &block->segment[s],
           (block->count - s) * sizeof (struct segment));
  block->count++;
  new = &block->segment[s];
  new->end = at;
  new->candidate = grow (NULL, new->count, sizeof (struct candidate));
  memcpy (new->candidate, block->segment[s + 1].candidate,
          new->count * sizeof (struct candidate));
  return s + 1;
}

static bool
same_candidates (const struct segment *a, const struct segment *b)
{
  if (a->count != b->count || a->settled != b->settled)
    return false;
  for (unsigned i = 0; i < a->count; ++i)
    if (a->candidate[i].source != b->candidate[i].source ||
        a->candidate[i].superseded != b->candidate[i].superseded)
      return false;
  return true;
}

/* Removes candidates that no read can show, and joins equal segments. */
static void
tidy (struct block *block)
{
  unsigned kept = 0;

  for (unsigned s = 0; s < block->count; ++s) {
    struct segment *segment = &block->segment[s];
    unsigned n = 0;

    for (unsigned i = 0; i < segment->count; ++i)
      if (segment->candidate[i].superseded > oldest)
        segment->candidate[n++] = segment->candidate[i];
    segment->count = n;
    if (n > most_candidates)
      most_candidates = n;
    if (kept > 0 && same_candidates (&block->segment[kept - 1], segment)) {
      block->segment[kept - 1].end = segment->end;
      free (segment->candidate);
    }
    else
      block->segment[kept++] = *segment;
  }
  block->count = kept;
  if (kept > most_segments)
    most_segments = kept;
}

/* Calls FN for every segment of the range, which is split at its ends. */
static void
for_segments (uint64_t offset, uint64_t count,
              void (*fn) (struct segment *segment, uint32_t source),
              uint32_t source)
{
  uint64_t end = offset + count, next;

  oldest = oldest_read ();
  for (; offset < end; offset = next) {
    struct block *block = &blocks[offset / BLOCK];
    unsigned first, last;

    next = (offset / BLOCK + 1) * BLOCK;
    if (next > end)
      next = end;
    first = split_at (block, (unsigned) (offset % BLOCK));
    last = next % BLOCK ? split_at (block, (unsigned) (next % BLOCK))
                        : block->count;
    for (unsigned s = first; s < last; ++s)
      fn (&block->segment[s], source);
    tidy (block);
  }
}

static void
add_candidate (struct segment *segment, uint32_t source)
{
  segment->candidate =
      grow (segment->candidate, segment->count + 1, sizeof (struct candidate));
  segment->candidate[segment->count++] = (struct candidate){ source, NEVER };
  segment->settled = false;
}

/* SOURCE has ended.  It supersedes sources that had ended before it began. */
static void
supersede (struct segment *segment, uint32_t source)
{
  for (unsigned i = 0; i < segment->count; ++i) {
    struct candidate *c = &segment->candidate[i];
    uint64_t end = sources[c->source].end;

    if (end != 0 && end < sources[source].start && c->superseded == NEVER)
      c->superseded = now;
  }
}

static void
write_begins (uint32_t source)
{
  for_segments (sources[source].offset, sources[source].count, add_candidate,
                source);
}

static void
write_ends (uint32_t source, bool failed)
{
  sources[source].end = ++now;
  sources[source].failed = failed;
  if (!failed)
    for_segments (sources[source].offset, sources[source].count, supersede,
                  source);
}

/* ---- Reads, compared with the model ---- */

static uint64_t bytes_checked, segments_settled;

static void
describe (const char *prefix, uint32_t i, uint64_t superseded)
{
  const struct source *s = &sources[i];

  fprintf (stderr,
           "  %s #%" PRIu32 " %s: offset %" PRIu64 ", %" PRIu32
           " bytes, began at %" PRIu64 ", ",
           prefix, i, s->what, s->offset, s->count, s->start);
  if (s->end)
    fprintf (stderr, "%s at %" PRIu64, s->failed ? "failed" : "ended", s->end);
  else
    fprintf (stderr, "under way");
  if (superseded != NEVER)
    fprintf (stderr, ", superseded at %" PRIu64, superseded);
  fprintf (stderr, "\n");
}

static void
mismatch (const struct segment *segment, uint64_t position,
          const unsigned char *got, size_t left, uint64_t start)
{
  unsigned shown = 0;
  size_t n = left < 16 ? left : 16;

  fprintf (stderr,
           "WRONG BYTES: a read that began at %" PRIu64
           " and ended at %" PRIu64 " shows at %" PRIu64 " (block %" PRIu64
           ", byte %" PRIu64 "):",
           start, now, position, position / BLOCK, position % BLOCK);
  for (size_t i = 0; i < n; ++i)
    fprintf (stderr, " %02x", got[i]);
  fprintf (stderr, "\n");
  for (unsigned i = 0; i < segment->count; ++i) {
    describe ("known here:", segment->candidate[i].source,
              segment->candidate[i].superseded);
    fprintf (stderr, "    has");
    for (size_t b = 0; b < n; ++b)
      fprintf (stderr, " %02x",
               byte_of (segment->candidate[i].source, position + b));
    fprintf (stderr, "\n");
  }
  /* Find the source of these bytes, for the message. */
  for (uint32_t i = sources_count; i-- > 0 && shown < 4;) {
    const struct source *s = &sources[i];
    bool same = s->pattern == DENSE || n >= 4;

    if (s->count && (position + n <= s->offset ||
                     position >= s->offset + s->count + LONGEST))
      continue;
    for (size_t b = 0; b < n && same; ++b)
      same = byte_of (i, position + b) == got[b];
    if (same) {
      describe ("these bytes are those of", i, NEVER);
      ++shown;
    }
  }
  fprintf (stderr, "repeat with VRAM_SEED=%" PRIu64 "\n", check_seed ());
  _exit (EXIT_FAILURE);
}

/* Counts how many of COUNT bytes from POSITION on are those of SOURCE. */
static unsigned
matching (uint32_t source, uint64_t position, const unsigned char *got,
          unsigned count)
{
  unsigned char want[BLOCK];
  unsigned n = 0;

  bytes_of (source, position, count, want);
  if (memcmp (want, got, count) == 0)
    return count;
  while (want[n] == got[n])
    ++n;
  return n;
}

/* Whether a read that began at START may show C. */
static bool
visible (const struct candidate *c, uint64_t start)
{
  return c->superseded > start;
}

/* Whether no write has been in flight at SEGMENT since START. */
static bool
is_quiet (const struct segment *segment, uint64_t start)
{
  for (unsigned i = 0; i < segment->count; ++i) {
    const struct candidate *c = &segment->candidate[i];
    uint64_t end = sources[c->source].end;

    if (end == 0 || end > start ||
        (c->superseded > start && c->superseded != NEVER))
      return false;
  }
  return true;
}

/* Whether a read that begins now may show one of several sources. */
static bool
is_undecided (const struct segment *segment)
{
  unsigned n = 0;

  for (unsigned i = 0; i < segment->count; ++i)
    n += segment->candidate[i].superseded == NEVER;
  return n > 1;
}

/* From now on SEGMENT shows WINNER.  Older reads may still show the others. */
static void
settle (struct segment *segment, uint32_t winner)
{
  for (unsigned i = 0; i < segment->count; ++i) {
    struct candidate *c = &segment->candidate[i];

    if (c->source != winner && c->superseded == NEVER)
      c->superseded = now;
  }
  segment->settled = true;
  ++segments_settled;
}

/* Checks COUNT bytes GOT of a read that began at START, at POSITION of one
 * segment.  Returns how many of them have the same source, *WINNER.
 */
static unsigned
check_run (const struct segment *segment, uint64_t position,
           const unsigned char *got, unsigned count, uint64_t start,
           uint32_t *winner)
{
  unsigned best = 0, n;

  for (unsigned i = segment->count; i-- > 0 && best < count;) {
    if (!visible (&segment->candidate[i], start))
      continue;
    n = matching (segment->candidate[i].source, position, got, count);
    if (n > best) {
      best = n;
      *winner = segment->candidate[i].source;
    }
  }
  if (best == 0)
    mismatch (segment, position, got, count, start);
  return best;
}

/* Checks the bytes of BLOCK from FROM up to TO. */
static void
check_block (uint64_t b, unsigned from, unsigned to, const unsigned char *got,
             uint64_t start)
{
  struct block *block = &blocks[b];
  unsigned s, n;

  for (unsigned at = from; at < to; at += n) {
    struct segment *segment;
    unsigned run_end;
    uint32_t winner = 0;

    for (s = 0; block->segment[s].end <= at; ++s)
      ;
    segment = &block->segment[s];
    run_end = segment->end < to ? segment->end : to;
    n = check_run (segment, b * BLOCK + at, got + (at - from), run_end - at,
                   start, &winner);
    if (is_undecided (segment) && is_quiet (segment, start)) {
      s = split_at (block, at);
      if (at + n < BLOCK)
        split_at (block, at + n);
      settle (&block->segment[s], winner);
    }
  }
  tidy (block);
}

static void
check_read (uint64_t offset, uint64_t count, const unsigned char *got,
            uint64_t start)
{
  uint64_t end = offset + count;

  oldest = oldest_read ();
  bytes_checked += count;
  for (uint64_t b = offset / BLOCK; b * BLOCK < end; ++b) {
    uint64_t from = b * BLOCK < offset ? offset : b * BLOCK;
    uint64_t to = (b + 1) * BLOCK < end ? (b + 1) * BLOCK : end;

    check_block (b, (unsigned) (from - b * BLOCK), (unsigned) (to - b * BLOCK),
                 got + (from - offset), start);
  }
}

/* ---- Requests ---- */

enum kind { READ, WRITE, ZERO, TRIM, FLUSH, CACHE, KINDS };
static const char *const kind_names[KINDS] = { "read", "write", "zero",
                                               "trim", "flush", "cache" };
static uint64_t done_count[KINDS], failed_count[KINDS];

struct request {
  bool busy;
  enum kind kind;
  uint64_t offset, start;
  uint32_t count;
  uint32_t source; /* 0: none */
  unsigned char *buf;
};

struct connection {
  struct nbd_handle *nbd;
  unsigned in_flight;
  struct request request[DEPTHS];
};

static struct connection connection[CONNS];
static uint64_t begun, ended;

static uint64_t
oldest_read (void)
{
  uint64_t first = now;

  for (unsigned c = 0; c < connections; ++c)
    for (unsigned r = 0; r < depth; ++r) {
      const struct request *request = &connection[c].request[r];

      if (request->busy && request->kind == READ && request->start < first)
        first = request->start;
    }
  return first;
}

static void
broken (const char *what)
{
  fprintf (stderr, "%s: %s\nrepeat with VRAM_SEED=%" PRIu64 "\n", what,
           nbd_get_error (), check_seed ());
  _exit (EXIT_FAILURE);
}

/* The part of the disk with most requests, which changes with time. */
static uint64_t hot;

static void
choose_range (uint64_t *offset, uint32_t *count)
{
  uint64_t align = rnd_below (&rnd, 4) ? BLOCK : 1, most = LONGEST;
  uint64_t start = 0, room = disk_size;

  switch (rnd_below (&rnd, 20)) {
  case 0:
    *count = (uint32_t) (128 * KIB + rnd_below (&rnd, most - 128 * KIB));
    break;
  case 1:
  case 2:
    *count = (uint32_t) (1 + rnd_below (&rnd, 600));
    align = 1;
    break;
  case 3:
  case 4:
    *count = (uint32_t) (512 * (1 + rnd_below (&rnd, 7)));
    align = 512;
    break;
  case 5:
  case 6:
  case 7:
  case 8:
    *count = BLOCK;
    break;
  default:
    *count = (uint32_t) (1 + rnd_below (&rnd, 128 * KIB));
  }
  if (align == BLOCK)
    *count = (*count + BLOCK - 1) / BLOCK * BLOCK;
  if (rnd_below (&rnd, 2)) {
    start = hot;
    room = 256 * KIB;
  }
  if (room > disk_size - start)
    room = disk_size - start;
  *offset = start + rnd_below (&rnd, room) / align * align;
  if (*count > disk_size - *offset)
    *count = (uint32_t) (disk_size - *offset);
}

static enum pattern
choose_pattern (void)
{
  static const enum pattern often[] = {
    DENSE,       DENSE,        DENSE,      DENSE,       ZERO_BLOCKS,
    ZERO_BLOCKS, ZERO_SECTORS, LAST_BYTES, FIRST_BYTES, WRITTEN_ZEROS,
  };

  return often[rnd_below (&rnd, sizeof often / sizeof often[0])];
}

static enum kind
choose_kind (void)
{
  uint64_t n = rnd_below (&rnd, 100);

  if (n < 40)
    return READ;
  if (n < 80)
    return WRITE;
  if (n < 88)
    return ZERO;
  if (n < 96)
    return TRIM;
  return n < 98 ? FLUSH : CACHE;
}

/* Called when the reply to a request was received. */
static int
replied (void *data, int *error)
{
  struct request *request = data;

  ++ended;
  if (*error && !(may_fail && *error == EIO &&
                  (request->kind == READ || request->kind == WRITE ||
                   request->kind == ZERO))) {
    fprintf (stderr,
             "%s of %" PRIu32 " bytes at %" PRIu64
             " failed: %s\nrepeat with VRAM_SEED=%" PRIu64 "\n",
             kind_names[request->kind], request->count, request->offset,
             strerror (*error), check_seed ());
    _exit (EXIT_FAILURE);
  }
  if (*error)
    failed_count[request->kind]++;
  else
    done_count[request->kind]++;
  ++now;
  if (request->source)
    write_ends (request->source, *error != 0);
  else if (request->kind == READ && *error == 0)
    check_read (request->offset, request->count, request->buf, request->start);
  free (request->buf);
  request->busy = false;
  return 1;
}

static void
begin_write (struct request *request)
{
  uint32_t count = request->count;
  uint64_t offset = request->offset, end = offset + count;

  if (request->kind == TRIM) {
    offset = (offset + BLOCK - 1) / BLOCK * BLOCK;
    end = end / BLOCK * BLOCK;
    if (offset >= end)
      return;
    count = (uint32_t) (end - offset);
  }
  request->source = source_new (
      kind_names[request->kind],
      request->kind == WRITE ? choose_pattern () : ALL_ZEROS, offset, count);
  if (request->kind == WRITE)
    bytes_of (request->source, offset, count, request->buf);
  write_begins (request->source);
}

/* Sends a request on connection C. */
static void
send_request (struct connection *c)
{
  nbd_completion_callback callback = { .callback = replied };
  struct request *request = c->request;
  int64_t r = -1;
  uint32_t flags = 0;

  while (request->busy)
    ++request;
  *request = (struct request){ .busy = true, .kind = choose_kind () };
  choose_range (&request->offset, &request->count);
  if (request->kind == READ || request->kind == WRITE)
    request->buf = grow (NULL, request->count, 1);
  callback.user_data = request;
  request->start = ++now;
  if (request->kind == WRITE || request->kind == ZERO || request->kind == TRIM)
    begin_write (request);
  if (request->kind != READ && request->kind != CACHE &&
      request->kind != FLUSH && rnd_below (&rnd, 8) == 0)
    flags |= LIBNBD_CMD_FLAG_FUA;

  switch (request->kind) {
  case READ:
    /* Bytes that a faulty server does not send must not look right. */
    memset (request->buf, 0xee, request->count);
    r = nbd_aio_pread (c->nbd, request->buf, request->count, request->offset,
                       callback, 0);
    break;
  case WRITE:
    r = nbd_aio_pwrite (c->nbd, request->buf, request->count, request->offset,
                        callback, flags);
    break;
  case ZERO:
    if (rnd_below (&rnd, 2))
      flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    if (rnd_below (&rnd, 2))
      flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
    r = nbd_aio_zero (c->nbd, request->count, request->offset, callback,
                      flags);
    break;
  case TRIM:
    r = nbd_aio_trim (c->nbd, request->count, request->offset, callback,
                      flags);
    break;
  case FLUSH:
    r = nbd_aio_flush (c->nbd, callback, 0);
    break;
  default:
    r = nbd_aio_cache (c->nbd, request->count, request->offset, callback, 0);
  }
  if (r == -1)
    broken (kind_names[request->kind]);
  c->in_flight++;
  ++begun;
}

/* Lets the connections work until there is a reply. */
static void
work (void)
{
  struct pollfd fds[CONNS];
  uint64_t before = ended;
  unsigned waited = 0;
  int r;

  while (ended == before) {
    for (unsigned c = 0; c < connections; ++c) {
      unsigned dir = nbd_aio_get_direction (connection[c].nbd);

      fds[c].fd = nbd_aio_get_fd (connection[c].nbd);
      fds[c].events = 0;
      fds[c].revents = 0;
      if (dir & LIBNBD_AIO_DIRECTION_READ)
        fds[c].events |= POLLIN;
      if (dir & LIBNBD_AIO_DIRECTION_WRITE)
        fds[c].events |= POLLOUT;
    }
    r = poll (fds, connections, 1000);
    if (r == -1 && errno != EINTR) {
      perror ("poll");
      _exit (EXIT_FAILURE);
    }
    if (r == 0 && ++waited >= stall_seconds) {
      fprintf (stderr,
               "no reply for %u seconds, %" PRIu64
               " requests under way\nrepeat with VRAM_SEED=%" PRIu64 "\n",
               stall_seconds, begun - ended, check_seed ());
      _exit (EXIT_FAILURE);
    }
    for (unsigned c = 0; c < connections; ++c) {
      r = 0;
      if (fds[c].revents & (POLLIN | POLLHUP | POLLERR))
        r = nbd_aio_notify_read (connection[c].nbd);
      else if (fds[c].revents & POLLOUT)
        r = nbd_aio_notify_write (connection[c].nbd);
      if (r == -1)
        broken ("connection");
      connection[c].in_flight =
          (unsigned) nbd_aio_in_flight (connection[c].nbd);
    }
  }
}

/* ---- When no request is in flight ---- */

static uint64_t holes_checked;

/* Checks one extent of the disk.  A hole must be zeros in the model, too. */
static void
check_extent (uint64_t offset, uint64_t length, uint32_t flags)
{
  static unsigned char zeros[BLOCK];

  if (!(flags & HOLE) != !(flags & IS_ZEROS)) {
    fprintf (stderr, "extent at %" PRIu64 " has flags %" PRIu32 "\n", offset,
             flags);
    _exit (EXIT_FAILURE);
  }
  if (offset % BLOCK || length % BLOCK) {
    fprintf (stderr,
             "extent at %" PRIu64 ", %" PRIu64 " bytes: not whole blocks\n",
             offset, length);
    _exit (EXIT_FAILURE);
  }
  for (uint64_t b = offset / BLOCK; b < (offset + length) / BLOCK; ++b) {
    const struct block *block = &blocks[b];
    const struct segment *s = &block->segment[0];
    uint32_t source;

    if (flags & HOLE) {
      check_block (b, 0, BLOCK, zeros, now);
      ++holes_checked;
      continue;
    }
    source = s->candidate[0].source;
    if (block->count == 1 && s->count == 1 && !s->settled &&
        sources[source].pattern == ALL_ZEROS) {
      fprintf (stderr, "block %" PRIu64 " is said to hold data\n", b);
      describe ("but last was", source, NEVER);
      fprintf (stderr, "repeat with VRAM_SEED=%" PRIu64 "\n", check_seed ());
      _exit (EXIT_FAILURE);
    }
  }
}

/* Up to which offset of the disk block_status has reported extents. */
static uint64_t extents_end;

static int
take_extents (void *data, const char *context, uint64_t offset,
              uint32_t *entries, size_t count, int *error)
{
  (void) data;
  if (strcmp (context, CONTEXT) != 0 || *error)
    return 0;
  for (size_t i = 0; i + 1 < count; i += 2) {
    uint64_t length = entries[i];

    if (offset >= disk_size)
      break;
    if (length > disk_size - offset)
      length = disk_size - offset;
    check_extent (offset, length, entries[i + 1]);
    offset += length;
  }
  extents_end = offset;
  return 0;
}

static void
check_extents (struct nbd_handle *nbd)
{
  nbd_extent_callback callback = { .callback = take_extents };
  uint64_t before;

  oldest = oldest_read ();
  for (extents_end = 0; extents_end < disk_size;) {
    before = extents_end;
    if (nbd_block_status (nbd, disk_size - before, before, callback, 0) == -1)
      broken ("block status");
    if (extents_end == before)
      broken ("block status says nothing");
  }
}

static void
check_all (struct nbd_handle *nbd)
{
  uint64_t n, start;
  unsigned char *buf = grow (NULL, 8 * MIB, 1);

  for (uint64_t at = 0; at < disk_size; at += n) {
    n = disk_size - at < 8 * MIB ? disk_size - at : 8 * MIB;
    start = ++now;
    memset (buf, 0xee, n);
    while (nbd_pread (nbd, buf, n, at, 0) == -1)
      if (!may_fail || nbd_get_errno () != EIO)
        broken ("read");
    ++now;
    check_read (at, n, buf, start);
  }
  free (buf);
}

static void
quiesce (void)
{
  while (begun > ended)
    work ();
  /* Check the extents before and after the bytes. */
  check_extents (connection[rnd_below (&rnd, connections)].nbd);
  check_all (connection[rnd_below (&rnd, connections)].nbd);
  check_extents (connection[rnd_below (&rnd, connections)].nbd);
}

/* ---- The main loop ---- */

static void
connect_all (void)
{
  int64_t size = 0;

  for (unsigned c = 0; c < connections; ++c) {
    struct nbd_handle *nbd = nbd_create ();

    if (nbd == NULL || nbd_add_meta_context (nbd, CONTEXT) == -1 ||
        nbd_connect_uri (nbd, uri) == -1)
      broken (uri);
    connection[c].nbd = nbd;
    size = nbd_get_size (nbd);
    if (nbd_can_multi_conn (nbd) != 1 || nbd_can_trim (nbd) != 1 ||
        nbd_can_fast_zero (nbd) != 1 || nbd_can_cache (nbd) != 1 ||
        nbd_can_meta_context (nbd, CONTEXT) != 1)
      broken ("the server lacks what this disk should offer");
  }
  disk_size = (uint64_t) size;
  if (disk_limit && disk_size > disk_limit)
    disk_size = disk_limit;
  disk_size = disk_size / BLOCK * BLOCK;
  if (disk_size == 0)
    broken ("the disk is empty");
}

static double
seconds_since (const struct timespec *start)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double) (ts.tv_sec - start->tv_sec) +
         (double) (ts.tv_nsec - start->tv_nsec) / 1e9;
}

static void
run (const struct timespec *start)
{
  uint64_t rest = 0;

  for (;;) {
    if (begun >= ops_wanted ||
        (seconds_wanted && seconds_since (start) >= seconds_wanted))
      break;
    if (begun >= rest) {
      if (begun > 0)
        quiesce ();
      rest = begun + 500 + rnd_below (&rnd, 3000);
    }
    if (begun % 256 == 0)
      hot = rnd_below (&rnd, disk_size) / BLOCK * BLOCK;
    /* Send several requests at once, or one after each reply. */
    for (unsigned c = 0; c < connections; ++c)
      while (connection[c].in_flight < depth && begun < ops_wanted)
        send_request (&connection[c]);
    work ();
  }
  quiesce ();
}

static void
usage (const char *name)
{
  fprintf (stderr,
           "usage: %s [-c connections] [-d depth] [-n requests] [-t seconds] "
           "[-b bytes of the disk] [-w seconds without a reply] "
           "[-e: EIO is no error] URI\n"
           "VRAM_SEED=N in the environment repeats a run's choices\n",
           name);
  exit (2);
}

static void
parse_arguments (int argc, char *argv[])
{
  int option;

  while ((option = getopt (argc, argv, "c:d:n:t:b:w:e")) != -1) {
    uint64_t n = option == 'e' ? 1 : strtoull (optarg ? optarg : "", NULL, 0);

    if (n == 0)
      usage (argv[0]);
    switch (option) {
    case 'c':
      connections = (unsigned) n;
      break;
    case 'd':
      depth = (unsigned) n;
      break;
    case 'n':
      ops_wanted = n;
      break;
    case 't':
      seconds_wanted = (unsigned) n;
      ops_wanted = UINT64_MAX;
      break;
    case 'b':
      disk_limit = n;
      break;
    case 'w':
      stall_seconds = (unsigned) n;
      break;
    case 'e':
      may_fail = true;
      break;
    default:
      usage (argv[0]);
    }
  }
  if (optind + 1 != argc || connections > CONNS || depth > DEPTHS)
    usage (argv[0]);
  uri = argv[optind];
}

int
main (int argc, char *argv[])
{
  struct timespec start;

  parse_arguments (argc, argv);
  check_begin (1, argv);
  rnd_begin (&rnd, 0);
  connect_all ();
  model_begin ();
  clock_gettime (CLOCK_MONOTONIC, &start);
  run (&start);
  for (unsigned c = 0; c < connections; ++c) {
    if (nbd_shutdown (connection[c].nbd, 0) == -1)
      broken ("shutdown");
    nbd_close (connection[c].nbd);
  }
  printf ("%u connections x %u on %" PRIu64 " MiB, %.1f s:", connections,
          depth, disk_size / MIB, seconds_since (&start));
  for (unsigned k = 0; k < KINDS; ++k)
    printf (" %" PRIu64 " %s", done_count[k], kind_names[k]);
  printf ("\nfailed: %" PRIu64 " read, %" PRIu64 " write, %" PRIu64
          " zero; %" PRIu64 " MiB checked, %" PRIu64
          " blocks of holes; at most %u candidates a byte, %u pieces a block, "
          "%" PRIu64 " settled by a read\n",
          failed_count[READ], failed_count[WRITE], failed_count[ZERO],
          bytes_checked / MIB, holes_checked, most_candidates, most_segments,
          segments_settled);
  model_end ();
  return EXIT_SUCCESS;
}
