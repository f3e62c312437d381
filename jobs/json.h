/* SPDX-License-Identifier: MIT
 *
 * JSON text as a stretch of bytes: a reader that walks the members of one object and validates all
 * it passes (RFC 8259, UTF-8), and strings in and out of their quotes. No tree, no allocation, no
 * recursion. Pure, any thread. */
#ifndef FETTLE_JOBS_JSON_H
#define FETTLE_JOBS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/error.h>

/* The deepest nesting that the reader can follow, whatever max_depth says: a bit of stack each. */
#define FTL__JSON_DEPTH_CEILING 16384

enum ftl__json_type {
    FTL__ABSENT, FTL__NULL, FTL__FALSE, FTL__TRUE, FTL__NUMBER, FTL__STRING, FTL__ARRAY, FTL__OBJECT
};

struct ftl__json_reader {
    const char *at; /* the next byte; after an error the one at which it shows */
    const char *end;
    uint32_t max_depth; /* of nesting; the object itself is 1 */
    bool first;         /* no member has been read yet */
    int error;          /* 0, or what made it stop */
    const char *reason; /* why, static text */
};

/* One member: its name with quotes from `begin`, its value from `value` up to `end`. */
struct ftl__json_member {
    const char *begin;
    const char *name_end; /* just after the closing quote */
    const char *value;
    const char *end;
    enum ftl__json_type type;
    bool escaped; /* the name holds escapes */
};

/* Goes behind the opening brace. FTL_EPROTO: not an object; FTL_ELIMIT: max_depth is 0. */
int ftl__json_open(struct ftl__json_reader *reader, const char *text, size_t size,
                   uint32_t max_depth);

/* 1: *ret_member is the next one. 0: the object has ended and only blanks followed it. FTL_EPROTO:
 * not JSON; FTL_ELIMIT: nested too deeply; reader->reason tells, reader->at is where. */
int ftl__json_next(struct ftl__json_reader *reader, struct ftl__json_member *ret_member);

/* Decodes what stands between the quotes of a valid string (`size` bytes) to `buf`, as much as fits
 * before a NUL, cut between characters. A lone surrogate becomes U+FFFD. Returns the length. */
size_t ftl__json_decode(const char *text, size_t size, char *buf, size_t buf_size);

/* Writes any bytes as a string, quotes included: invalid UTF-8 becomes U+FFFD, at most `max_chars`
 * characters are kept (0 = all). With buf = NULL nothing is written. Returns the length. */
size_t ftl__json_encode(const char *text, size_t size, size_t max_chars, char *buf);

/* How deep a valid text nests: parsers that recurse are asked only after that, since a task's stack
 * is small. */
uint32_t ftl__json_depth(const char *text, size_t size);

#endif
