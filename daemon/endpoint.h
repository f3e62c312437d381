/* SPDX-License-Identifier: MIT
 *
 * The keys of a handler with a URL. */
#ifndef FETTLE_DAEMON_ENDPOINT_H
#define FETTLE_DAEMON_ENDPOINT_H

#include "daemon/config.h"
#include "daemon/settings.h"

/* Checks the handler that was read from `at`, and completes it. 0 or the value of
 * ftl__settings_fail(). */
int ftl__endpoint_check(const struct ftl__settings *settings, const config_setting_t *at,
                        struct ftl__handler_config *handler);

/* Makes it real: reads its files. On an error *ret_key is the key that it is about. */
struct ftl__handler;
struct ftl__handler_settings;
int ftl__endpoint_make(const struct ftl__handler_config *from,
                       const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                       const char **ret_key, char *reason, size_t size);

#endif
