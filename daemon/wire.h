/* SPDX-License-Identifier: MIT
 *
 * The wire: commands to bytes, bytes to replies, both bounded. Knows no connection and never
 * waits. */
#ifndef FETTLE_DAEMON_WIRE_H
#define FETTLE_DAEMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>

struct redisReply;
struct ftl__wire;

int ftl__wire_open(struct ftl__wire **ret_wire); /* FTL_ENOMEM */
void ftl__wire_close(struct ftl__wire *wire);    /* NULL-safe */

/* Appends a command to what is to be sent; or bytes that are one already. FTL_ENOMEM, FTL_ELIMIT:
 * nothing was appended. */
int ftl__wire_put(struct ftl__wire *wire, int argc, const char *const *argv, const size_t *argvlen);
int ftl__wire_put_raw(struct ftl__wire *wire, const char *bytes, size_t size);

/* Hands out all that was put since the last time; false: nothing. Valid until the next take. */
bool ftl__wire_take(struct ftl__wire *wire, const char **ret_bytes, size_t *ret_size);

/* Where bytes from the server are to be read to, valid until the next call of these three; and how
 * many have come. FTL_ENOMEM, FTL_ELIMIT: the connection is of no use any more. */
int ftl__wire_space(struct ftl__wire *wire, char **ret_space, size_t *ret_size);
void ftl__wire_filled(struct ftl__wire *wire, size_t size);

/* The next whole reply, the caller's (ftl__reply_free). FTL_EAGAIN: there is none yet. FTL_EPROTO,
 * FTL_ELIMIT, FTL_ENOMEM: the connection is of no use any more. */
int ftl__wire_next(struct ftl__wire *wire, struct redisReply **ret_reply);

#endif
