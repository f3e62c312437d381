/* SPDX-License-Identifier: MIT
 *
 * Where Redis is: redis.url and the password's file, made into a struct ftl__address (config.h). */
#ifndef FETTLE_DAEMON_ADDRESS_H
#define FETTLE_DAEMON_ADDRESS_H

#include "daemon/config.h"

/* 0: *ret_address, cleared with ftl__address_clear(). FTL_EINVAL, FTL_ENOMEM: `reason` is a line
 * without the URL, which may hold a password. */
int ftl__address_parse(const char *url, struct ftl__address *ret_address, char *reason,
                       size_t reason_size);

/* The same for a master that sentinels know: `sentinels` are count times "host[:port]". */
int ftl__address_sentinels(char *const *sentinels, size_t count, const char *master, uint32_t db,
                           struct ftl__address *ret_address, char *reason, size_t reason_size);

/* Takes the password from the first line of a file that only its owner and group may read. Errors
 * as above; FTL_ENOENT: there is no such file. */
int ftl__address_read_password(struct ftl__address *address, const char *file, char *reason,
                               size_t reason_size);

/* Swaps the passwords; they are the same address otherwise. */
void ftl__address_swap_passwords(struct ftl__address *a, struct ftl__address *b);

void ftl__address_clear(struct ftl__address *address); /* wipes the password */
/* Passwords apart, which may change while it is used. */
bool ftl__address_equal(const struct ftl__address *a, const struct ftl__address *b);

#endif
