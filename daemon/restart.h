/* SPDX-License-Identifier: MIT
 *
 * The process begins anew under its own pid: the same program, arguments and environment, and no
 * memory of before. Main thread only. */
#ifndef FETTLE_DAEMON_RESTART_H
#define FETTLE_DAEMON_RESTART_H

#include <stdbool.h>
#include <sys/types.h>

/* First thing in main(): takes over from the process that has begun anew as this one, if there is
 * one. `argv` must stay. */
void ftl__restart_begin(char **argv);

/* After the second restart in a row waits, so that there are never many: false = told to stop by a
 * signal meanwhile. The daemon's signals are blocked. */
bool ftl__restart_wait(void);
/* The configuration does not load. One that begins anew has nobody who would start it again: it waits
 * some seconds, or for a SIGHUP. False: it is not such a one, or is to stop. The signals are blocked. */
bool ftl__restart_hold(void);

/* Ends all children but one (0: none is spared), and begins anew. Returns only if that is not possible;
 * errno tells. What is open is closed, but 0, 1 and 2. */
void ftl__restart(pid_t spared);

#endif
