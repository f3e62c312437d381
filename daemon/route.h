/* SPDX-License-Identifier: MIT
 *
 * The route of a claimed job: its scan, the class that is matched, its handler; or why it cannot be
 * run. Pure; control runtime only. */
#ifndef FETTLE_DAEMON_ROUTE_H
#define FETTLE_DAEMON_ROUTE_H

#include "daemon/slot.h"
#include "jobs/registry.h"

#define FTL__ROUTE_DEPTH 512 /* of nesting in a job */

struct ftl__route {
    enum ftl__end end; /* why there is no handler: RAW, REFUSED or UNROUTABLE */
    const char *error_class, *message; /* static */
};

/* Looks at slot->run.bytes: fills job, class, jid, attempt and handler (with a reference). 0, or
 * FTL_ENOENT with *ret_route. `max_payload`: bytes of a job as its producer sent it; what came back
 * from a failure may have grown. */
int ftl__route(struct ftl__slot *slot, struct ftl__registry *registry, size_t max_payload,
               uint32_t recoveries, struct ftl__route *ret_route);

#endif
