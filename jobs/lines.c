/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Bytes come in as a pipe gives them; lines go out as soon as they are whole. Both limits
 * are there so that a command gone wild can fill neither memory nor the log: a line without end
 * comes in pieces, and a stream without end stops after one line that says so. The tail goes on
 * being kept, since it explains the end of the command, which comes after any limit.
 *
 * Pure: no allocation, no I/O. */
#include "jobs/lines.h"

#include <string.h>

_Static_assert(FTL__OUTPUT_MAX == 1048576, "FTL__OUTPUT_DROPPED says so");

/* Makes room for `size` bytes by forgetting the oldest. */
static void tail_forget(struct ftl__lines *lines, size_t size)
{
    size_t room = sizeof(lines->tail) - lines->tail_size;
    size_t gone = size > room ? size - room : 0;

    memmove(lines->tail, lines->tail + gone, lines->tail_size - gone);
    lines->tail_size -= gone;
}

static void tail_add(struct ftl__lines *lines, const char *line, size_t size)
{
    if (size >= sizeof(lines->tail)) {
        line += size - (sizeof(lines->tail) - 1);
        size = sizeof(lines->tail) - 1;
    }
    tail_forget(lines, size + 1);
    memcpy(lines->tail + lines->tail_size, line, size);
    lines->tail_size += size;
    lines->tail[lines->tail_size++] = '\n';
}

static void say_dropping(struct ftl__lines *lines)
{
    lines->dropping = true;
    lines->emit(lines->arg, FTL__OUTPUT_DROPPED, sizeof(FTL__OUTPUT_DROPPED) - 1);
}

static void give(struct ftl__lines *lines, const char *line, size_t size)
{
    tail_add(lines, line, size);
    if (lines->dropping) {
        return;
    }
    if (lines->given + size + 1 > FTL__OUTPUT_MAX) {
        say_dropping(lines);
        return;
    }
    lines->given += size + 1;
    lines->emit(lines->arg, line, size);
}

static void give_unfinished(struct ftl__lines *lines)
{
    size_t size = lines->size;

    lines->size = 0;
    give(lines, lines->line, size);
}

void ftl__lines_feed(struct ftl__lines *lines, const char *bytes, size_t size)
{
    while (size > 0) {
        size_t room = sizeof(lines->line) - lines->size;
        size_t take = size < room ? size : room;
        /* One byte further: a line that fits exactly ends here, not in a second, empty piece. */
        const char *newline = memchr(bytes, '\n', size < room + 1 ? size : room + 1);

        if (newline != NULL) {
            take = (size_t)(newline - bytes);
        } else if (room == 0) {
            give_unfinished(lines);
            continue;
        }
        memcpy(lines->line + lines->size, bytes, take);
        lines->size += take;
        take += newline != NULL;
        bytes += take;
        size -= take;
        if (newline != NULL) {
            give_unfinished(lines);
        }
    }
}

void ftl__lines_end(struct ftl__lines *lines)
{
    if (lines->size > 0) {
        give_unfinished(lines);
    }
}

const char *ftl__lines_tail(const struct ftl__lines *lines, size_t *ret_size)
{
    const char *begin = lines->tail + lines->tail_size;
    size_t count = 0;

    if (lines->tail_size == 0) {
        *ret_size = 0;
        return lines->tail;
    }
    while (begin > lines->tail && count < FTL__TAIL_LINES) {
        const char *newline = memrchr(lines->tail, '\n', (size_t)(begin - 1 - lines->tail));

        begin = newline != NULL ? newline + 1 : lines->tail;
        count++;
    }
    /* The oldest line may have lost its beginning: not in the middle of a character. */
    while (((unsigned char)*begin & 0xc0) == 0x80) {
        begin++;
    }
    *ret_size = (size_t)(lines->tail + lines->tail_size - 1 - begin);
    return begin;
}
