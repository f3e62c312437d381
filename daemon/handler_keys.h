/* SPDX-License-Identifier: MIT
 *
 * The keys of one handler in the configuration, what they are if nothing is said, and what of them
 * does not go together. */
#ifndef FETTLE_DAEMON_HANDLER_KEYS_H
#define FETTLE_DAEMON_HANDLER_KEYS_H

#include "daemon/config.h"
#include "daemon/settings.h"

extern const struct ftl__key ftl__handler_keys[];
extern const struct ftl__handler_config ftl__handler_defaults;

/* As of ftl__key.check: `record` is a struct ftl__handler_config. Sets its type. */
int ftl__handler_check(const struct ftl__settings *settings, const config_setting_t *at, void *record);

#endif
