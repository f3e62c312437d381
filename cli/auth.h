/* SPDX-License-Identifier: MIT
 *
 * Who we are: AUTH, to Redis and to sentinels. */
#ifndef FETTLE_CLI_AUTH_H
#define FETTLE_CLI_AUTH_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

/* `user` and `password` may be NULL or "": without both there is nothing to say. False: not let in,
 * and `reason` says why. The password is in none. */
bool ftl__cli_auth(redisContext *context, const char *user, const char *password, char *reason,
                   size_t reason_size);

#endif
