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

/* Periods (of more than 0 ns) without drift: tick() waits for the next one. After a delay, missed
 * periods are skipped, the phase is kept. */
struct ftl_interval {
    int64_t next, period;
};
FTL_API void ftl_interval_init(struct ftl_interval *interval, int64_t first, int64_t period);
FTL_API int ftl_interval_tick(struct ftl_interval *interval);

#endif
