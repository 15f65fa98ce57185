# nbdkit-vram: of the tests that TESTS= names on make's command line, runs
# those of this folder, because "make -C tests/unit check" comes here, too
# SPDX-License-Identifier: BSD-3-Clause

override TESTS := $(filter $(swap_tests),$(TESTS))
