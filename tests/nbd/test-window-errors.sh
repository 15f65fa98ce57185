#!/usr/bin/env bash
# nbdkit-vram: invalid values of window= and window-read-max= are refused
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

refuses_to_start "window=maybe: it must be auto, yes or no" size=16M \
  window=maybe
for parameter in window= window-read-max=many window-read-max=-1 \
  window-read-max=10%; do
  refuses_to_start "${parameter%%=*}|could not" size=16M "$parameter"
done
