#!/bin/sh
# SPDX-License-Identifier: MIT
#
# gdb walks the stacks of tasks to their end: of running ones as they are, of waiting ones by
# tools/gdb/fettle.py.
set -u
. "$SRCDIR/tests/lib/tap.sh"

unset DEBUGINFOD_URLS
gdb="timeout 180 gdb -q -nx -batch"
command -v gdb >/dev/null 2>&1 || skip_all 'no gdb'
$gdb -ex 'python import gdb.unwinder' 2>&1 | grep -q . && skip_all 'this gdb has no Python'
$gdb -ex run true 2>&1 | grep -q 'exited normally' || skip_all 'gdb cannot run a program here'
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# part N: what the Nth command printed.
part()
{
    awk -v n="$1" '/^PART /{ p = $2; next } p == n' "$out"
}

# frames N NAME...: the Nth command shows these frames, in this order, and the last one ends it.
frames()
{
    n=$1
    shift
    part "$n" | awk -v names="$*" '
        BEGIN { count = split(names, name) ; i = 1 }
        /^ *#/ { last = 0; if (index(" " $0 " ", " " name[i] " ")) { last = i == count; i++ } }
        /[Ss]topped/ { bad = 1 }
        END { exit !(last && !bad) }'
}

ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" $gdb \
    -ex "source $SRCDIR/tools/gdb/fettle.py" \
    -ex 'break stop_here' -ex run \
    -ex 'echo PART 1\n' -ex 'bt' \
    -ex 'echo PART 2\n' -ex 'fettle tasks' \
    -ex 'echo PART 3\n' -ex 'fettle bt 0' \
    -ex 'echo PART 4\n' -ex 'fettle bt 2' \
    -ex 'echo PART 5\n' -ex 'fettle bt' \
    -ex 'echo PART 6\n' -ex 'bt' \
    -ex 'echo PART 7\n' -ex 'fettle bt 99' \
    -ex 'echo PART 8\n' -ex 'fettle bt 4' \
    -ex 'echo PART 9\n' -ex 'fettle bt 1' \
    -ex 'echo PART 10\n' -ex kill \
    "$BUILDDIR/tests/gdb_tasks" >"$out" 2>&1
grep -q 'no debug information' "$out" && skip_all 'built without debug information'

running='stop_here spawns_and_runs ftl__strand_main ftl__context_start'
waiting='ftl__worker_switch_out ftl__waiter_wait wait_inside waits ftl__strand_main
    ftl__context_start'

frames 1 $running
ok $? "gdb's own backtrace of a running task ends at its bottom"
part 2 | grep -q '^0 *waiting *sleeper *waits$'
ok $? 'a waiting task is listed'
part 2 | grep -q '^2 *running *runner *spawns_and_runs on thread [0-9]*$'
ok $? 'a running task is listed with its thread'
part 2 | grep -q '^3 *new *fresh *waits$'
ok $? 'a task that has not begun is listed'
frames 3 $waiting
ok $? 'the backtrace of a waiting task'
frames 4 $running
ok $? 'the backtrace of a running task'
[ "$(part 5 | grep -c '^[0-9]')" = 4 ] && [ "$(part 5 | grep -c ftl__context_start)" = 6 ]
ok $? 'the backtraces of all that have begun'
[ "$(part 6)" = "$(part 1)" ]
ok $? "gdb's own backtrace is what it was before"
grep -q '^no task 99$' "$out"
ok $? 'a task that is not there'
part 2 | grep -q '^runtime gdb: 4 tasks$' && part 2 | grep -q '^runtime other: 1 tasks$' &&
    part 2 | grep -q '^4 *waiting *elsewhere *waits$'
ok $? 'a task of another runtime is listed'
frames 8 $waiting
ok $? 'the backtrace of a task of another runtime'
frames 9 wait_inside branch ftl__branch_main ftl__context_start \
    wait_inside second_branch ftl__branch_main ftl__context_start \
    ftl_join joins ftl__strand_main ftl__context_start
ok $? 'the backtraces of the strands of a task'

# A core file of the kernel's, where it leaves one in the current folder.
folder=$(mktemp -d)
trap 'rm -rf "$out" "$folder"' EXIT
name='a core file shows the tasks too'
program=$BUILDDIR/tests/.libs/gdb_tasks
[ -x "$program" ] || program=$BUILDDIR/tests/gdb_tasks
(cd "$folder" && ulimit -c unlimited && timeout 180 "$BUILDDIR/tests/gdb_tasks" core) >/dev/null 2>&1
core=$(find "$folder" -name 'core*')
if [ -f "$core" ]; then
    $gdb -ex "source $SRCDIR/tools/gdb/fettle.py" -ex 'echo PART 1\n' -ex 'fettle bt 0' \
        -ex 'echo PART 2\n' -ex 'fettle tasks' "$program" "$core" >"$out" 2>&1
    frames 1 $waiting && part 2 | grep -q '^2 *running *runner *spawns_and_runs on thread [0-9]*$'
    ok $? "$name"
else
    skip "$name" 'the kernel leaves no core file here'
fi

[ "$tap_failed" = 0 ] || diag <"$out"
done_testing
