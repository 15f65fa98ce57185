/* nbdkit-vram: starts a preloaded sanitizer before any other library's code
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* The thread sanitizer starts with the first call that it intercepts.  In
 * nbdkit that is a malloc of libp11-kit's constructor, inside newlocale, which
 * holds a lock of the C library's; the sanitizer, as it starts, asks dlerror
 * for a translated message, takes that lock again and gives it back once too
 * often.  The server then hangs when it exits.  This library is linked with
 * -z initfirst and preloaded too, so that the first call is this one.
 */

#include <stdlib.h>

static void __attribute__ ((constructor)) start_sanitizer (void)
{
  void *volatile p = malloc (1);

  free (p);
}
