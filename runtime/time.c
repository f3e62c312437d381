/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The clock, and waiting for it: a wait that nobody grants and its deadline ends. */
#include <fettle/time.h>

#include <time.h>

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
    interval->next = first;
    interval->period = period;
}

int ftl_interval_tick(struct ftl_interval *interval)
{
    int rc = ftl_sleep_until(interval->next);
    if (rc != 0)
        return rc;
    int64_t late = ftl_now() - interval->next;
    interval->next += interval->period;
    if (late > interval->period) /* the missed ones are skipped, the phase is kept */
        interval->next += late / interval->period * interval->period;
    return 0;
}
