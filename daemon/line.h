/* SPDX-License-Identifier: MIT
 *
 * A line of the log in the making: a bounded buffer with the escapes of logfmt and JSON. What does
 * not fit is cut between two characters, and everything behind the cut is refused. */
#ifndef FETTLE_DAEMON_LINE_H
#define FETTLE_DAEMON_LINE_H

#include <stdbool.h>
#include <stddef.h>

#define FTL__LINE_MAX 16384 /* bytes, newline included */

struct ftl__line {
    size_t size;
    bool truncated;
    char bytes[FTL__LINE_MAX];
};

void ftl__line_clear(struct ftl__line *line);

/* Appends `size` bytes as they are, all or nothing. */
void ftl__line_raw(struct ftl__line *line, const char *bytes, size_t size);

/* Appends a text as the value of a logfmt field (quoted if it must be), or as a JSON string. A text
 * that does not fit is cut; its closing quote is written nevertheless. */
void ftl__line_logfmt(struct ftl__line *line, const char *text, size_t size);
void ftl__line_json(struct ftl__line *line, const char *text, size_t size);

/* Appends the tail, for which there is always room, and the newline. */
#define FTL__LINE_TAIL 32 /* longest tail, newline included */
void ftl__line_end(struct ftl__line *line, const char *tail);

#endif
