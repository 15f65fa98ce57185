# nbdkit-vram: adds the slow tests to "make check FULL=yes"; automake has no
# such condition
# SPDX-License-Identifier: BSD-3-Clause

ifdef FULL
TESTS += $(slow_tests)
endif
