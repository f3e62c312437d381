/* SPDX-License-Identifier: MIT
 *
 * A stream of output, cut into lines under limits, with its last lines kept. */
#ifndef FETTLE_JOBS_LINES_H
#define FETTLE_JOBS_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define FTL__LINE_MAX   8192          /* bytes of a line; a longer one is given in pieces */
#define FTL__OUTPUT_MAX (1024 * 1024) /* bytes of a stream that are given, newlines included */
#define FTL__OUTPUT_DROPPED "more than 1048576 bytes of output: the rest is dropped"
#define FTL__TAIL_LINES 20
#define FTL__TAIL_BYTES 2048

/* Zeroed, then `emit` and `arg` set: ready. One thread at a time; holds no memory of its own. */
struct ftl__lines {
    void (*emit)(void *arg, const char *line, size_t size); /* without the newline */
    void *arg;
    size_t given;  /* bytes that were given to emit */
    bool dropping; /* the limit is reached, and the line that says so was given */
    size_t size;   /* of the unfinished line */
    char line[FTL__LINE_MAX];
    size_t tail_size;
    char tail[FTL__TAIL_BYTES]; /* the last lines, each with its newline */
};

/* Takes the next bytes of the stream. */
void ftl__lines_feed(struct ftl__lines *lines, const char *bytes, size_t size);

/* The stream is over: gives what is left of an unfinished line. */
void ftl__lines_end(struct ftl__lines *lines);

/* The last FTL__TAIL_LINES lines within FTL__TAIL_BYTES, also of what was dropped; no newline at
 * the end. Points into *lines. */
const char *ftl__lines_tail(const struct ftl__lines *lines, size_t *ret_size);

#endif
