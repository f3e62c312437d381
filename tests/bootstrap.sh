#!/bin/sh
# SPDX-License-Identifier: MIT
#
# ./bootstrap check: its last line and its exit status, for builds whose make only leaves results.
set -u
. "${SRCDIR:=$(cd "$(dirname "$0")/.." && pwd)}/tests/lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing is missing there, so nothing is installed.
mkdir "$work/bin" "$work/build-aux"
for name in cc autoconf automake libtoolize pkg-config redis-server python3; do
    printf '#!/bin/sh\nexit 0\n' >"$work/bin/$name"
    chmod +x "$work/bin/$name"
done
cp "$SRCDIR/bootstrap" "$work"
touch "$work/configure" "$work/Makefile.in" "$work/build-aux/tap-driver.sh"

# results STATUS RESULT...: what `make check` leaves in each build, and how it ends.
results()
{
    status=$1
    shift
    for dir in build build-asan build-tsan; do
        mkdir -p "$work/$dir/tests"
        touch "$work/$dir/config.status"
        {
            printf 'all:\ncheck:\n'
            printf '\t@echo ":test-result: %s" >>tests/some.trs\n' "$@"
            printf '\t@exit %s\n' "$status"
        } >"$work/$dir/Makefile"
    done
}

# run: leaves the last line in $last, the one before in $before, the status in $code.
run()
{
    MAKEFLAGS='' PATH="$work/bin:$PATH" "$work/bootstrap" check >"$work/out" 2>"$work/err"
    code=$?
    last=$(tail -n 1 "$work/out")
    before=$(tail -n 2 "$work/out" | head -n 1)
}

# says CODE LAST NAME
says()
{
    [ "$code" = "$1" ] && [ "$last" = "$2" ]
    ok $? "$3"
    [ "$code" = "$1" ] && [ "$last" = "$2" ] || diag <<END
status $code, last line: $last
$(cat "$work/err")
END
}

results 0 'PASS a' 'PASS b'
run
says 0 '6 passed, 0 failed' 'all passed'

results 0 'PASS a' 'SKIP b'
run
says 0 '3 passed, 0 failed' 'skipped cases are not in the last line'
[ "$before" = '3 skipped' ]
ok $? 'but in the one before'

results 1 'PASS a' 'FAIL b' 'FAIL c' 'ERROR - exited with status 1'
run
says 1 '3 passed, 6 failed' 'some failed'

results 1 'PASS a'
run
says 1 '3 passed, 3 failed' 'a check that breaks without a failed case has failed'

results 0 'SKIP a'
run
says 1 '0 passed, 0 failed' 'no test is no success'
done_testing
