/* SPDX-License-Identifier: MIT
 *
 * Cards: the JSON that dashboards read about a process and its runs. Pure. */
#ifndef FETTLE_DAEMON_CARD_H
#define FETTLE_DAEMON_CARD_H

#include <stddef.h>

#include "daemon/config.h"
#include "daemon/roster.h"

/* `info` of the process ID: what every version of the dashboards asks for. NULL: out of memory. */
char *ftl__card_process(const char *id, double started_at, const struct ftl__config *config);

/* A run: queue, payload as a string, run_at. NULL: out of memory, or not UTF-8. */
char *ftl__card_run(const struct ftl__roster_run *run);

#endif
