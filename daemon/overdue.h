/* SPDX-License-Identifier: MIT
 *
 * Runs past their deadline. Pure but for the abort; control runtime only. */
#ifndef FETTLE_DAEMON_OVERDUE_H
#define FETTLE_DAEMON_OVERDUE_H

#include "daemon/slot.h"

/* Asks the running slots whose time is over to end: at the timeout their waits return
 * FTL_ECANCELED, kill_after later (and what their kind needs to tell about it) they are aborted.
 * Returns when to look again (FTL_FOREVER: never). */
int64_t ftl__overdue_end(struct ftl__list *running, int64_t now);

#endif
