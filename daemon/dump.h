/* SPDX-License-Identifier: MIT
 *
 * The task dump (SIGTTIN): every task of a runtime with its backtrace, into the log. */
#ifndef FETTLE_DAEMON_DUMP_H
#define FETTLE_DAEMON_DUMP_H

#include <fettle/runtime.h>

/* `name` is the runtime's, for the log. Looks all tasks up first and logs them after that, so that
 * none is held up by the log. Any thread. */
void ftl__dump(struct ftl_runtime *runtime, const char *name);

#endif
