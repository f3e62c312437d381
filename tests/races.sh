#!/bin/sh
# SPDX-License-Identifier: MIT
#
# ThreadSanitizer sees a race between two tasks, also where one thread runs them both, and none where
# the runtime orders what they do.
set -u
. "$SRCDIR/tests/lib/tap.sh"

grep -q 'define FTL_SANITIZER "thread"' "$BUILDDIR/config.h" || skip_all 'not a thread sanitizer build'
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# run NAME WORKERS: its report in $out, its exit status.
run()
{
    TSAN_OPTIONS='exitcode=66' timeout 120 "$BUILDDIR/tests/races" "$1" "$2" >"$out" 2>&1
}

for workers in 1 2; do
    run planted $workers
    [ $? = 66 ] && grep -q 'WARNING: ThreadSanitizer: data race' "$out" &&
        grep -q "Location is global 'counter'" "$out"
    ok $? "a race between tasks is reported, workers: $workers"
    for name in spawned_and_joined woken migrated; do
        run $name $workers
        ok $? "none is reported where there is none: $name, workers: $workers"
    done
done
run planted_serial 1
ok $? 'none is reported between the tasks of a serial runtime'

[ "$tap_failed" = 0 ] || diag <"$out"
done_testing
