/* SPDX-License-Identifier: MIT
 *
 * The server: whether what is at the other end of a link is one that we can work with. */
#ifndef FETTLE_DAEMON_SERVER_H
#define FETTLE_DAEMON_SERVER_H

#include <stddef.h>
#include <stdint.h>

struct ftl__link;

/* For the on_up of a link. 0: it is, or does not tell. FTL_EINVAL: it is not, and `reason` says why
 * Otherwise as ftl__link_call(), or FTL_EPROTO: it cannot tell just now. */
int ftl__server_check(struct ftl__link *link, int64_t deadline, char *reason, size_t reason_size);

/* The value of a field of INFO ("redis_version:"), up to the end of its line; NULL: it has none. */
const char *ftl__server_field(const char *info, const char *field);

#endif
