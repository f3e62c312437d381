/* SPDX-License-Identifier: MIT
 *
 * Runs past their deadline. Pure but for the abort; control runtime only. */
#ifndef FETTLE_DAEMON_OVERDUE_H
#define FETTLE_DAEMON_OVERDUE_H

#include "daemon/slot.h"

/* Ends the running slots whose time is over. Returns when to look again (FTL_FOREVER: never). */
int64_t ftl__overdue_end(struct ftl__list *running, int64_t now);

#endif
