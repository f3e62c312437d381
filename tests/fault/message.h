/* SPDX-License-Identifier: MIT
 *
 * Messages of RESP2, as the proxy needs them: where one ends, and what kind of command it is. */
#ifndef FETTLE_TESTS_MESSAGE_H
#define FETTLE_TESTS_MESSAGE_H

#include <stddef.h>

#define KIND_MAX 64

/* The size of the whole message at the head of `bytes`; 0: it is not all there. Ends the process if
 * that is no RESP. */
size_t message_size(const char *bytes, size_t size);

/* What a whole command is called in plans and reports, into `ret_kind`: a script by its name
 * ("claim"), its loading as "LOAD claim", others by their word, with the first two parts of a key
 * of fettle's own ("HGETALL fettle:owners"). */
void message_kind(const char *bytes, size_t size, char ret_kind[KIND_MAX]);

/* The reply to a command of this kind: from that to a LOAD the names of scripts are learned. */
void message_learn(const char *kind, const char *reply, size_t size);

#endif
