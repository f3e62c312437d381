#!/bin/sh
# SPDX-License-Identifier: MIT
# The explorer as one of the scripts: make begins with those, and it is among the longest.
exec "$BUILDDIR/tests/model/model"
