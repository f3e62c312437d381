#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The orders of the ring, the idle word, the strands and the small primitives are needed: a scenario
# notices when one is weakened. The whole sweep, which also looks whether the list of those that
# nobody notices is true, is `make check-model`.
exec "$BUILDDIR/tests/model/model" --noticed "$SRCDIR/tests/model/equivalent.txt" \
    queue.c idle.c strands.c oneshot.c futex semaphore.c channel.c 'wait.c ' notify.c
