/* SPDX-License-Identifier: MIT
 *
 * What operators have cancelled: is a job, or a run, among the marks of fettle:cancelled? */
#ifndef FETTLE_DAEMON_CANCELS_H
#define FETTLE_DAEMON_CANCELS_H

#include "daemon/marks.h"
#include "jobs/job.h"

/* Is the job marked by its jid, or its run by its token (0: it has none)? `now` is epoch seconds of
 * Redis' clock. */
bool ftl__cancels_has(const struct ftl__marks *cancels, const struct ftl__job *job, uint64_t token,
                      double now);

#endif
