# nbdkit-vram: "make check" leaves out the slow tests, "make check FULL=yes"
# does not (automake knows no such condition)
# SPDX-License-Identifier: BSD-3-Clause

ifdef FULL
TESTS += $(slow_tests)
endif
