/* SPDX-License-Identifier: MIT
 *
 * Where the master is, by the sentinels of the configuration. */
#ifndef FETTLE_CLI_SENTINEL_H
#define FETTLE_CLI_SENTINEL_H

#include <hiredis/hiredis.h>

#include "cli/settings.h"

/* Connects to the master that the first sentinel to answer names, each asked for a second at most.
 * NULL: it was said why not. Otherwise as redisConnectWithTimeout(), its err included. */
redisContext *ftl__cli_connect_master(const struct ftl__cli_settings *settings,
                                      struct timeval timeout);

#endif
