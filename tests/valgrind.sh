#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The runtime under valgrind's memcheck: it follows tasks from stack to stack and finds nothing.
set -u
. "$SRCDIR/tests/lib/tap.sh"

command -v valgrind >/dev/null 2>&1 || skip_all 'no valgrind'
grep -q 'define HAVE_VALGRIND_VALGRIND_H 1' "$BUILDDIR/config.h" || skip_all 'built without valgrind.h'
grep -q 'define FTL_SANITIZER "none"' "$BUILDDIR/config.h" || skip_all 'a sanitizer is in its place'
[ -x "$BUILDDIR/tests/unit/test_defer" ] || skip_all 'no unit tests'
out=$(mktemp)
trap 'rm -f "$out"' EXIT

for name in cork defer task_set; do
    CK_FORK=no FTL_TEST_SLOW=50 timeout 180 "$BUILDDIR/libtool" --mode=execute \
        valgrind -q --error-exitcode=77 --fair-sched=yes "$BUILDDIR/tests/unit/test_$name" \
        >"$out" 2>&1
    ok $? "memcheck finds nothing in test_$name"
    [ "$tap_failed" = 0 ] || diag <"$out"
done
done_testing
