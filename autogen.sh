#!/bin/sh
# nbdkit-vram: makes configure and the Makefile.in files out of configure.ac
# and the Makefile.am files
# SPDX-License-Identifier: BSD-3-Clause

set -e
cd "$(dirname "$0")"
mkdir -p m4 build-aux
autoreconf --force --install
