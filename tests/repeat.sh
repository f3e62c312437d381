#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs tests again and again while another process keeps one processor busy, and keeps the output of
# each that fails:
#
#     tests/repeat.sh RUNS LOGS TEST...
#
# in a build tree; `make check-runtime-100` is that with the unit tests of the runtime. A run is all
# tests once. What fails is told at once, with its log, which is LOGS/NAME.RUN.log. No failure: 0.
set -u
runs=${1:?RUNS} logs=${2:?LOGS}
shift 2
mkdir -p "$logs" || exit 1

# The busy process: on the last processor, where one can say so.
hog='while :; do :; done'
processors=$(getconf _NPROCESSORS_ONLN)
if command -v taskset >/dev/null 2>&1 && [ "$processors" -gt 1 ]; then
    taskset -c $((processors - 1)) sh -c "$hog" &
else
    sh -c "$hog" &
fi
hog=$!
trap 'kill "$hog"' EXIT
trap 'exit 1' HUP INT TERM

run=0 failures=0 begin=$(date +%s)
while [ "$run" -lt "$runs" ]; do
    run=$((run + 1))
    for test; do
        log=$logs/$(basename "$test").$run.log
        timeout -k 10 600 "$test" >"$log" 2>&1
        status=$?
        if [ "$status" = 0 ]; then
            rm -f "$log"
            continue
        fi
        failures=$((failures + 1))
        echo "run $run: $test: status $status: $log"
        grep '^not ok' "$log"
    done
done
echo "$runs runs of $# tests beside a busy processor: $failures failures, $(($(date +%s) - begin)) s"
[ "$failures" = 0 ]
