/* nbdkit-vram: starts a preloaded sanitizer before any other library's code
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* ThreadSanitizer starts at the first call that it intercepts.  In nbdkit that
 * is a malloc in libp11-kit's constructor, inside newlocale, which holds a
 * lock of the C library.  While it starts, the sanitizer calls dlerror, which
 * translates a message, takes the lock again, and releases it once too often.
 * The server then hangs at its exit.  This library is linked with -z initfirst
 * and preloaded, so that its call is the first one.
 */

#include <stdlib.h>

static void __attribute__ ((constructor)) start_sanitizer (void)
{
  void *volatile p = malloc (1);

  free (p);
}
