/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A job is looked for by its jid and its run by its token, under the names that `fettle
 * cancel` has given to the marks. */
#include "daemon/cancels.h"

#include <inttypes.h>
#include <stdio.h>

#include "jobs/run.h"

#define NAME_MAX_BYTES (sizeof "token:" + FTL__JID_MAX)

static bool find(const struct ftl__marks *cancels, const char *name, size_t size, double now)
{
    const struct ftl__mark *mark = ftl__marks_find(cancels, name, size);

    return mark != NULL && now < mark->until;
}

bool ftl__cancels_has(const struct ftl__marks *cancels, const struct ftl__job *job, uint64_t token,
                      double now)
{
    static const char prefix[] = "jid:";
    char name[NAME_MAX_BYTES + 8] = "jid:"; /* longer than any mark, so that none is cut */
    int size = ftl__job_string(job, FTL__JID, name + sizeof prefix - 1,
                               sizeof name - (sizeof prefix - 1));

    if (size > 0 && find(cancels, name, sizeof prefix - 1 + (size_t)size, now))
        return true;
    size = snprintf(name, sizeof name, "token:%" PRIu64, token);
    return token != 0 && find(cancels, name, (size_t)size, now);
}
