/* SPDX-License-Identifier: MIT
 *
 * What a job in a sorted set must look like so that dashboards can show it: other programs leave
 * members that make their pages fail. Pure but for the changes that it records in the edit; changes
 * recorded later win. */
#ifndef FETTLE_JOBS_REPAIR_H
#define FETTLE_JOBS_REPAIR_H

#include "jobs/job.h"

/* Times that are strings, whole seconds or no times at all; a retry_count that is no number, or
 * without the times that belong to it; a backtrace that is not base64(zlib(…)). */
void ftl__repair(const struct ftl__job *job, double now, struct ftl__edit *edit);

/* No jid, or one that identifies nothing (null, ""). */
bool ftl__repair_needs_jid(const struct ftl__job *job);

#endif
