#!/usr/bin/env bash
# nbdkit-vram: parameters of a few words take these words only
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "scrub|perhaps" size=16M scrub=perhaps
refuses_to_start "resident=perhaps: it is auto, yes, required or no" size=16M resident=perhaps
refuses_to_start "allow=root: it is owner or any" size=16M allow=root
