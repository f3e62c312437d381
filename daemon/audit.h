/* SPDX-License-Identifier: MIT
 *
 * The audit: after a break of the connection, compares what Redis says we hold with the ledger. A
 * claim whose reply was lost shows as a batch that nobody here knows: its jobs go back to their
 * queue. What a failover has brought back is settled again. */
#ifndef FETTLE_DAEMON_AUDIT_H
#define FETTLE_DAEMON_AUDIT_H

#include "daemon/round.h"

/* In a task that has no claim on its way. `anew`: over a connection over which none has been made.
 * 0, or an error of the link or the reply: repeat it. */
int ftl__audit(const struct ftl__round_context *context, bool anew);

#endif
