/* nbdkit-vram: the debug flags, nbdkit -D NAME.FLAG=1
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DEBUG_H
#define VRAM_DEBUG_H

/* Log every copy: its path, size and place.  nbdkit finds the variable by its
 * symbol, which begins with the plugin's name (see configure.ac).
 */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_copies __asm__(PLUGIN_DEBUG_SYMBOL ("copies"));

/* Choose the path of each copy at random, so that tests meet every mix. */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_random_path __asm__(PLUGIN_DEBUG_SYMBOL ("random_path"));

/* Have the governor of an elastic disk move slots between VRAM and the spill
 * file at random and without pauses, so that tests meet every mix.
 */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_restless __asm__(PLUGIN_DEBUG_SYMBOL ("restless"));

/* The largest writes that go through the mapping, in bytes.  0: as measured;
 * negative: none.
 */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_window_write_max __asm__(
        PLUGIN_DEBUG_SYMBOL ("window_write_max"));

#endif /* VRAM_DEBUG_H */
