# SPDX-License-Identifier: MIT
# TAP for tests in POSIX sh: source it, call `ok` for each case, end with `done_testing`.
# shellcheck shell=sh

tap_count=0
tap_failed=0

# ok STATUS NAME: one case; STATUS 0 = passed.
ok()
{
    tap_count=$((tap_count + 1))
    if [ "$1" = 0 ]; then
        echo "ok $tap_count - $2"
    else
        echo "not ok $tap_count - $2"
        tap_failed=$((tap_failed + 1))
    fi
}

# Lines from stdin as diagnostics.
diag()
{
    sed 's/^/# /'
}

skip_all()
{
    echo "1..0 # SKIP $1"
    exit 0
}

skip()
{
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

done_testing()
{
    echo "1..$tap_count"
    [ "$tap_failed" = 0 ]
}
