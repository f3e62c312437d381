#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Are the second looks needed, and would the scenarios notice? Each is taken out of a copy of its
# source; the explorer, linked with the copy, must fail. Run by `make check-model`, which says how to
# compile (COMPILE) and to link (LINK), in a build tree.
set -u
. "${SRCDIR:?}/tests/lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# without WHAT FILE SED SCENARIO…: the sed script changes the file; one of the scenarios notices.
without()
{
    what=$1 file=$2 change=$3
    shift 3
    sed -e "$change" "$SRCDIR/runtime/$file" >"$work/$file"
    if cmp -s "$SRCDIR/runtime/$file" "$work/$file"; then
        ok 1 "$what: the place is gone, mend this test"
        return
    fi
    object=runtime/tests_model_libruntime_a-${file%.c}.o
    cp tests/model/libruntime.a "$work/libruntime.a"
    # shellcheck disable=SC2086 # words
    $COMPILE -w -c "$work/$file" -o "$work/$(basename "$object")" &&
        ar r "$work/libruntime.a" "$work/$(basename "$object")" &&
        $LINK -o "$work/model" tests/model/model-explore.o tests/model/model-main.o \
            tests/model/model-memory.o tests/model/model-race.o tests/model/model-system.o \
            tests/model/model-weaken.o tests/model/libscenarios.a "$work/libruntime.a" || exit 1
    ! "$work/model" "$@" >"$work/log" 2>&1 && grep -q '^not ok' "$work/log"
    ok $? "without $what: $(sed -n 's/^not ok [0-9]* - \([a-z_0-9]*\):.*/\1/p' "$work/log" | head -1) notices"
}

without 'a look at all queues after going to sleep' park.c \
    's/if (look && ftl__runtime_has_work(runtime))/if (look \&\& false)/' worker_spawn worker_sleep
without 'a look at the own inbox after the sleep' park.c \
    's/if (ftl__worker_has_work(worker) || called_away(worker)) {/if (called_away(worker)) {/' worker_inbox
without 'a look at NOTIFIED after a wait' task.c \
    's/return atomic_fetch_and_explicit(&task->state, ~FTL__RUNNING, memory_order_acq_rel) &/return atomic_fetch_and_explicit(\&task->state, ~FTL__RUNNING, memory_order_acq_rel) \& 0 \&/' \
    task_wake_abort
without 'the high half that keeps the owner away from what a thief copies' queue.c \
    's/if (tail - steal_of(head) >= FTL__QUEUE_SIZE)/if (tail - real_of(head) >= FTL__QUEUE_SIZE)/' \
    queue_around_4 queue_overflow_4
without 'the wake-up by the last searcher who finds a task' worker.c \
    's/if (ftl__idle_found(&runtime->idle))/if (ftl__idle_found(\&runtime->idle) \&\& false)/' \
    worker_hog
without 'a look at the lock word of the sleeper before it sleeps' park.c \
    's/if (sleep && !atomic_compare_exchange_strong(&worker->park, &empty, FTL__PARK_DRIVER))/if (sleep \&\& false)/' \
    worker_spawn worker_inbox
without 'a look for an abort before a wait' wait.c \
    's/if (ftl__abort_pending(strand))/if (false)/' task_abort_waiting
without 'a look at the closing after a spawn' task.c \
    '/alive\. \*\//,/schedule_late/s/if (is_closing(runtime))/if (false)/' \
    task_shutdown_waiting
without 'a wait for the grant that came before a deadline of a join' task.c \
    's/^            ftl__waiter_settle(waiter);/            (void)waiter;/' task_join_until
without 'a wait for the grant that came before a deadline of a oneshot' oneshot.c \
    's/^            ftl__waiter_settle(&waiter);/            (void)waiter;/' oneshot
without 'a look at the grant before the deadline' wait.c \
    's/^    if (state == FTL__WAITING)$/    if (state != FTL__GRANTED)/' oneshot task_join_until semaphore
without 'giving back units that came too late' semaphore.c \
    's/if (got && !closed && rc != 0)/if (false)/' semaphore
without 'letting in whom a waiter stood in the way of' semaphore.c \
    's/serve(semaphore, &wakes); \/\* it may/(void)wakes; \/* it may/' semaphore_big
without 'a look whether a place is queued' strands.c \
    's/if (atomic_load_explicit(&place->queued, memory_order_relaxed)) {/if (false) {/' \
    strands_join strands_select strands_abort
without 'an abort that reaches the other branches' strands.c \
    's/^    wake_for_abort(strands);/    (void)wake_for_abort;/' strands_abort
without 'passing a wake-up on that came too late' notify.c \
    's/if (!standing && waiter.count)/if (false)/' notify
without 'giving back a message that came too late' channel.c \
    's/put_back(channel, waiter->item);/(void)0;/' channel
without 'a look at the workers by a monitor that goes to sleep' monitor.c \
    's/if (!all_parked(runtime) || ftl__blocking_retry(runtime))/if (ftl__blocking_retry(runtime))/' \
    monitor_sleep
without 'a look at the hands of a stuck worker' monitor.c \
    's/!atomic_load_explicit(&worker->hands, memory_order_acquire) \&\& //' monitor_displace
without 'a look whether the monitor has seized what is left' worker.c \
    's/while (atomic_load_explicit(&worker->seized, memory_order_acquire))/while (false)/' \
    monitor_outbox monitor_lifo monitor_destructor
without 'a look whether a dump looks' worker.c \
    's/while (atomic_load_explicit(&runtime->dumped, memory_order_acquire) == task)/while (false \&\& task)/' \
    dump_yielding dump_waiting

done_testing
