/* SPDX-License-Identifier: MIT
 *
 * The host: what `fettled --host MODULE` is. A persistent worker (jobs/worker.c) whose runs are
 * functions of a C module. It knows neither Redis nor a configuration. */
#ifndef FETTLE_DAEMON_HOST_H
#define FETTLE_DAEMON_HOST_H

#include "daemon/options.h"

/* Serves until its descriptor 3 is at its end. Returns the exit code of the process, in which there may
 * be threads that have not ended; complains on stderr. */
int ftl__host_main(const struct ftl__options *options);

#endif
