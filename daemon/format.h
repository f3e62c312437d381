/* SPDX-License-Identifier: MIT
 *
 * The format of the in-flight record and of the registry: a number that each owner carries in
 * fettle:owners and fettle:fenced. Whose format is not known is never fenced or reaped. */
#ifndef FETTLE_DAEMON_FORMAT_H
#define FETTLE_DAEMON_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#define FTL__FORMAT_MAX 7 /* bytes of one */

extern const char ftl__format_own[]; /* of what this release writes */

/* Can this release read it? Its own, and that of the release before. */
bool ftl__format_is_known(const char *format, size_t size);

#endif
