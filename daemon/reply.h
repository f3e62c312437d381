/* SPDX-License-Identifier: MIT
 *
 * Replies of Redis (RESP2): the bytes that come in, and the trees that are made of them. A tree
 * looks as hiredis' own, but its texts lie where they were read and all its nodes in one piece of
 * memory: it is freed as a whole, by ftl__reply_free(). Pure; used by one wire, on control. */
#ifndef FETTLE_DAEMON_REPLY_H
#define FETTLE_DAEMON_REPLY_H

#include <stdbool.h>
#include <stddef.h>

struct redisReply;

#define FTL__REPLY_DEPTH 8 /* arrays in arrays; deeper: FTL_ELIMIT */
#define FTL__REPLY_LINE_MAX ((size_t)1 << 20) /* of a status or an error */

/* What a connection has read and not handed out yet. Zeroed = empty; `elements` and `bytes` bound
 * one reply. */
struct ftl__replies {
    struct ftl__reply_buffer *buffer;
    size_t begin;   /* of the reply that is being read, in the buffer */
    size_t seen;    /* bytes of it that were looked at: whole elements */
    size_t left;    /* elements that are still to come; 0: none of it has come */
    size_t count;   /* elements so far */
    size_t largest; /* bytes of a reply, so far */
    size_t max_elements, max_bytes;
};

void ftl__replies_init(struct ftl__replies *replies, size_t max_elements, size_t max_bytes);
void ftl__replies_fini(struct ftl__replies *replies);

/* Where the next bytes are to be read to, valid until the next call of any of these. FTL_ENOMEM;
 * FTL_ELIMIT: the reply that is being read is too large. */
int ftl__replies_space(struct ftl__replies *replies, char **ret_space, size_t *ret_size);
/* So many bytes have come there. */
void ftl__replies_filled(struct ftl__replies *replies, size_t size);

/* The next whole reply, the caller's. FTL_EAGAIN: there is none yet. FTL_EPROTO, FTL_ELIMIT,
 * FTL_ENOMEM: what comes cannot be read any further. */
int ftl__replies_next(struct ftl__replies *replies, struct redisReply **ret_reply);

/* Is it an error with this code ("FENCED"), of a command or of one that a script has called? */
bool ftl__reply_is_error(const struct redisReply *reply, const char *code);

/* Frees what ftl__replies_next() has returned. NULL-safe. */
void ftl__reply_free(struct redisReply *reply);

#endif
