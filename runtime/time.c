/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The clock, and waiting for it: a wait that nobody grants and its deadline ends. */
#include <fettle/time.h>

#include <time.h>

#include <fettle/task.h>

#include "runtime/wait.h"

int64_t ftl_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (int64_t)now.tv_sec * FTL_S + now.tv_nsec;
}

int64_t ftl_deadline(int64_t ns)
{
    int64_t at;
    return __builtin_add_overflow(ftl_now(), ns, &at) ? FTL_FOREVER : at;
}

int ftl_sleep_until(int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl__waiter never;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    ftl__waiter_init(&never, strand);
    rc = ftl__waiter_wait(&never, deadline);
    return rc == FTL_ETIMEDOUT ? 0 : ftl__wait_result(strand, rc);
}

int ftl_sleep(int64_t ns)
{
    return ftl_sleep_until(ftl_deadline(ns));
}

void ftl_interval_init(struct ftl_interval *interval, int64_t first, int64_t period)
{
    ftl_assert(period > 0);
    *interval = (struct ftl_interval){.next = first, .period = period};
}

static int64_t add(int64_t at, int64_t ns)
{
    int64_t sum;
    return __builtin_add_overflow(at, ns, &sum) ? FTL_FOREVER : sum;
}

/* When the tick after the one of `due` is, which is taken now. */
static int64_t next_tick(const struct ftl_interval *interval, int64_t due, int64_t now)
{
    enum { TOLERANCE = 5000000 };
    int64_t late = now - due, period = interval->period;
    if (late <= (period < TOLERANCE ? period : TOLERANCE))
        return add(due, period);
    switch (interval->missed) {
    case FTL_MISSED_DELAY:
        return add(now, period);
    case FTL_MISSED_SKIP:
        return add(now - late % period, period);
    case FTL_MISSED_BURST:
    default:
        return add(due, period);
    }
}

int ftl_interval_tick(struct ftl_interval *interval)
{
    int64_t due = interval->next;
    int rc = ftl_sleep_until(due);
    if (rc == 0)
        interval->next = next_tick(interval, due, ftl_now());
    return rc;
}
