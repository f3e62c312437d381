/* SPDX-License-Identifier: MIT
 *
 * Time: CLOCK_MONOTONIC in nanoseconds, absolute deadlines. */
#ifndef FETTLE_TIME_H
#define FETTLE_TIME_H

#include <stdint.h>

#include <fettle/error.h>
#include <fettle/export.h>

#define FTL_FOREVER INT64_MAX
#define FTL_MS INT64_C(1000000)
#define FTL_S INT64_C(1000000000)

/* Now, in ns of CLOCK_MONOTONIC. Any thread. */
FTL_API int64_t ftl_now(void);

/* now + ns, saturating at FTL_FOREVER. */
FTL_API int64_t ftl_deadline(int64_t ns);

/* Waits until `deadline` (the runtime's grain is 1 ms: never early, rounded up). 0, or
 * FTL_ECANCELED if an abort came. On a foreign thread it blocks the thread. */
FTL_API int ftl_sleep_until(int64_t deadline);
FTL_API int ftl_sleep(int64_t ns);

/* What an interval does after a tick that came late: by more than 5 ms, or by more than a period
 * where that is shorter. Less than that never shifts anything. */
enum ftl_missed {
    FTL_MISSED_BURST, /* makes up for it: the ticks that were missed come at once, one after the
                         other, until the schedule is caught up with. Their number is right.     */
    FTL_MISSED_DELAY, /* a period from now, and so on from there: never two ticks at less than a
                         period; the schedule is shifted.                                        */
    FTL_MISSED_SKIP,  /* leaves out what was missed: the next tick is the next of the schedule.  */
};

/* Ticks at first, first + period, …, without drift. The caller's storage, one task at a time. */
struct ftl_interval {
    int64_t next;           /* ns, when the next tick is due; may be set to begin anew from there */
    int64_t period;         /* ns, more than 0 */
    enum ftl_missed missed; /* FTL_MISSED_BURST at first; may be set at any time */
};

/* A period of 0 ns or less is a panic. */
FTL_API void ftl_interval_init(struct ftl_interval *interval, int64_t first, int64_t period);

/* Waits for the next tick and takes it; at once if it is overdue. FTL_ECANCELED: it was not taken.
 * On a foreign thread it blocks the thread. */
FTL_API int ftl_interval_tick(struct ftl_interval *interval);

#endif
