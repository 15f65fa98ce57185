/* nbdkit-vram: the debug flags, nbdkit -D NAME.FLAG=1
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DEBUG_H
#define VRAM_DEBUG_H

/* Log every copy: its way, size and place.  nbdkit finds the variable by its
 * symbol, which begins with the plugin's name (see configure.ac).
 */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_copies __asm__(PLUGIN_DEBUG_SYMBOL ("copies"));

/* Leave to chance by which way each copy goes, so that tests meet every mix. */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_random_path __asm__(PLUGIN_DEBUG_SYMBOL ("random_path"));

/* The largest writes, in bytes, that go by the window, instead of what set-up
 * finds best; negative for none, 0 to leave it to set-up.
 */
extern __attribute__ ((visibility ("default"))) int
    vram_debug_window_write_max __asm__(
        PLUGIN_DEBUG_SYMBOL ("window_write_max"));

#endif /* VRAM_DEBUG_H */
