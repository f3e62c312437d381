/* SPDX-License-Identifier: MIT
 *
 * The text of a configuration file, and what libconfig would read wrongly in it without a word. */
#ifndef FETTLE_DAEMON_SOURCE_H
#define FETTLE_DAEMON_SOURCE_H

#include "daemon/settings.h"

#define FTL__SOURCE_MAX (1 << 20) /* bytes */

/* The whole file, NUL-terminated; the caller frees. FTL_EINVAL, FTL_ENOMEM: the error line is
 * written. */
int ftl__source_read(const struct ftl__settings *settings, char **ret_text);

/* FTL_EINVAL, with the line, for what must not reach libconfig: integers that it would cut to 32
 * bits, strings without an end, and @include, which takes file and line away from later errors. */
int ftl__source_check(const struct ftl__settings *settings, const char *text);

#endif
