/* SPDX-License-Identifier: MIT
 *
 * Where the master is, by the sentinels of the configuration. */
#ifndef FETTLE_CLI_SENTINEL_H
#define FETTLE_CLI_SENTINEL_H

#include "cli/dial.h"
#include "cli/settings.h"

/* Connects to the master that the first sentinel to answer names, each asked for a second at most.
 * As ftl__dial_tcp(). */
int ftl__cli_dial_master(const struct ftl__cli_settings *settings,
                         const struct ftl__tls_context *tls, struct timeval timeout,
                         struct ftl__dialed *ret_dialed, char *reason, size_t reason_size);

#endif
