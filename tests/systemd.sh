#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The unit: its exposure is at most 1.0, it is well formed, and it leaves the drain enough time. The
# example configuration is accepted by the daemon.
set -u
. "$SRCDIR/tests/lib/tap.sh"

unit=$BUILDDIR/systemd/fettled.service
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# setting NAME FILE: the value of NAME=… in a unit, or of `NAME = …;` in a configuration.
setting()
{
    sed -nE "s/^$1 *= *([0-9]+).*/\1/p" "$2"
}

if command -v systemd-analyze >/dev/null 2>&1; then
    systemd-analyze --no-pager security --offline=true --threshold=10 "$unit" >"$work/exposure" 2>&1
    ok $? 'exposure is at most 1.0'
    tail -1 "$work/exposure" | diag
    # The gate itself works: without its filter the same unit is above.
    sed '/^SystemCallFilter/d' "$unit" >"$work/fettled.service"
    ! systemd-analyze --no-pager security --offline=true --threshold=10 "$work/fettled.service" \
        >/dev/null 2>&1
    ok $? 'a unit without its system call filter is above'
    # It may name only programs that exist.
    sed "s|^Exec\([A-Za-z]*\)=[^ ]*fettled|Exec\1=$FETTLED|; /^Documentation/d" "$unit" \
        >"$work/fettled.service"
    systemd-analyze --no-pager verify "$work/fettled.service" >"$work/verify" 2>&1
    status=$?
    grep fettled.service "$work/verify" | diag
    [ "$status" = 0 ] && ! grep -q fettled.service "$work/verify"
    ok $? 'the unit is well formed'
else
    skip 'exposure is at most 1.0' 'no systemd-analyze'
    skip 'the unit is well formed' 'no systemd-analyze'
fi

stop=$(setting TimeoutStopSec "$unit")
drain=$(setting shutdown_timeout "$BUILDDIR/systemd/fettled.conf")
[ "${stop:-0}" -gt "${drain:-9999}" ]
ok $? "TimeoutStopSec ($stop) is above shutdown_timeout ($drain)"

sed "s|^module_path.*|module_path = [ \"$MODULES_DIR\" ];|" "$BUILDDIR/systemd/fettled.conf" \
    >"$work/fettled.conf"
"$FETTLED" --check-config --config "$work/fettled.conf" >"$work/output" 2>&1
ok $? 'the example configuration is right'
diag <"$work/output"

done_testing
