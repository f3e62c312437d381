#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs the examples of the runtime (examples/runtime/) and compares what they print with what their
# comments promise. Frames of backtraces, which differ from machine to machine, are looked at apart.
set -u
. "$SRCDIR/tests/lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run NAME: its output without frames is in $work/out, the frames are in $work/frames.
run()
{
    timeout 180 "$BUILDDIR/examples/runtime/$1" >"$work/all" 2>"$work/errors"
    status=$?
    grep '^#[0-9]' "$work/all" >"$work/frames"
    grep -v '^#[0-9]' "$work/all" | sed 's/ ([^ ]*\.c:[0-9]*)$/ (LINE)/' >"$work/out"
    return $status
}

# prints NAME WHAT: exactly what is on stdin.
prints()
{
    cat >"$work/expected"
    run "$1" && diff "$work/expected" "$work/out" >"$work/diff"
    status=$?
    ok $status "$1: $2"
    [ $status = 0 ] || cat "$work/diff" "$work/errors" | diag
}

prints fan_out 'the parts add up' <<END
100 squares add up to 338350
END

prints bounded 'never more than the bound, and every slot comes back' <<END
page 7: page 7 is broken
19 of 20 pages fetched, at most 3 at a time, 3 slots are free
END

prints shared_state 'nothing is lost' <<END
with a mutex: 1000
with an owner: 1000
END

run join_or_spawn && grep -qx 'join: 3000 turns' "$work/out"
ok $? 'join_or_spawn: branches count without atomics'
[ "$(awk '/^join: branch/ { print $NF }' "$work/out" | uniq | wc -l)" = 1 ]
ok $? 'join_or_spawn: all branches on one thread'
[ "$(awk '/^spawn: task/ { print $NF }' "$work/out" | sort -u | wc -l)" = 2 ]
ok $? 'join_or_spawn: two tasks on two threads'

prints abort 'at once, with a grace, before it started' <<END
at once
  at once: lock file removed
  cancelled
with a grace
  with a grace: 3 records saved
  with a grace: lock file removed
  completed
before it started
  cancelled
END

prints detached 'it outlives its creator and frees what it had' <<END
the creator has ended
the detached task got: hello
its argument is freed
its value is freed: thanks
END

prints panic 'one task ends, the others go on' <<END
42 / 6 = 7
the file is closed
the file is closed
joined: cannot divide 42 by 0
the file is closed
joined: assertion failed: numbers[0] >= numbers[1] (LINE)
hook: loose: nobody will join me
still there
END
grep -q '^#0 0x' "$work/frames" && grep -q '^#1 0x' "$work/frames"
ok $? 'panic: it has a backtrace'

prints timeout 'what is late is cut off, and the first answer counts' <<END
fast: connection closed
fast: 42
slow: connection closed
slow: the deadline has passed
near: connection closed
far: connection closed
first: near
END

done_testing
