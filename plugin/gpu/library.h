/* nbdkit-vram: opens a driver's library at run time and finds functions in it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LIBRARY_H
#define VRAM_LIBRARY_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Load the library NAME.  Returns NULL if that fails, and dlerror says why.
 * RTLD_NODELETE: a driver starts threads that it does not stop, so their code
 * must stay when nbdkit unloads the plugin.
 */
static inline void *
library_open (const char *name)
{
  return dlopen (name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

/* Store the address of SYMBOL in FIELD, a function pointer.  Returns false if
 * there is no such symbol.  POSIX.1-2008 lets a void pointer hold a function's
 * address.
 */
static inline bool
library_symbol (void *library, const char *symbol, void *field)
{
  void *address = dlsym (library, symbol);

  memcpy (field, &address, sizeof address);
  return address != NULL;
}

#endif
