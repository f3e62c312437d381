/* SPDX-License-Identifier: MIT
 *
 * DESIGN: two buffers for what goes out, one being filled while the other is being sent; commands
 * are written straight into the first, so that a pipelined call costs one copy and no allocation.
 * What comes in is read where it stays until its reply is freed (reply.c).
 * Used by one link, on control. */
#include "daemon/wire.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "daemon/link.h"
#include "daemon/reply.h"

/* What an idle buffer may keep. */
#define KEPT ((size_t)1 << 20)

struct buffer {
    char *bytes;
    size_t size, room;
};

struct ftl__wire {
    struct buffer filling, sending;
    struct ftl__replies replies;
};

int ftl__wire_open(struct ftl__wire **ret_wire)
{
    struct ftl__wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL)
        return FTL_ENOMEM;
    ftl__replies_init(&wire->replies, FTL__LINK_MAX_ELEMENTS, FTL__LINK_MAX_REPLY);
    *ret_wire = wire;
    return 0;
}

void ftl__wire_close(struct ftl__wire *wire)
{
    if (wire == NULL)
        return;
    ftl__replies_fini(&wire->replies);
    free(wire->filling.bytes);
    free(wire->sending.bytes);
    free(wire);
}

/* ---- out -------------------------------------------------------------------------------- */

static int make_room(struct buffer *buffer, size_t more)
{
    if (more > FTL__LINK_MAX_OUT - buffer->size)
        return FTL_ELIMIT;
    size_t needed = buffer->size + more;
    if (needed <= buffer->room)
        return 0;
    size_t room = buffer->room < 4096 ? 4096 : buffer->room;
    while (room < needed)
        room *= 2;
    char *bytes = realloc(buffer->bytes, room);
    if (bytes == NULL)
        return FTL_ENOMEM;
    buffer->bytes = bytes;
    buffer->room = room;
    return 0;
}

static void append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

/* "*3\r\n" and "$170\r\n". There is room for it. */
static void append_length(struct buffer *buffer, char kind, size_t length)
{
    char text[24];
    char *end = text + sizeof text, *at = end;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + length % 10);
    while ((length /= 10) > 0);
    *--at = kind;
    append(buffer, at, (size_t)(end - at));
}

#define LENGTH_MAX ((size_t)24)

int ftl__wire_put(struct ftl__wire *wire, int argc, const char *const *argv, const size_t *argvlen)
{
    struct buffer *out = &wire->filling;
    size_t size = LENGTH_MAX;
    for (int i = 0; i < argc; i++) {
        if (argvlen[i] > FTL__LINK_MAX_OUT)
            return FTL_ELIMIT;
        size += LENGTH_MAX + argvlen[i] + 2;
    }
    int status = make_room(out, size);
    if (status != 0)
        return status;
    append_length(out, '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        append_length(out, '$', argvlen[i]);
        append(out, argv[i], argvlen[i]);
        append(out, "\r\n", 2);
    }
    return 0;
}

int ftl__wire_put_raw(struct ftl__wire *wire, const char *bytes, size_t size)
{
    int status = size > FTL__LINK_MAX_OUT ? FTL_ELIMIT : make_room(&wire->filling, size);
    if (status == 0)
        append(&wire->filling, bytes, size);
    return status;
}

bool ftl__wire_take(struct ftl__wire *wire, const char **ret_bytes, size_t *ret_size)
{
    if (wire->sending.room > KEPT) {
        free(wire->sending.bytes);
        wire->sending = (struct buffer){0};
    }
    wire->sending.size = 0;
    if (wire->filling.size == 0)
        return false;
    struct buffer taken = wire->filling;
    wire->filling = wire->sending;
    wire->sending = taken;
    *ret_bytes = taken.bytes;
    *ret_size = taken.size;
    return true;
}

/* ---- in --------------------------------------------------------------------------------- */

int ftl__wire_space(struct ftl__wire *wire, char **ret_space, size_t *ret_size)
{
    return ftl__replies_space(&wire->replies, ret_space, ret_size);
}

void ftl__wire_filled(struct ftl__wire *wire, size_t size)
{
    ftl__replies_filled(&wire->replies, size);
}

int ftl__wire_next(struct ftl__wire *wire, struct redisReply **ret_reply)
{
    return ftl__replies_next(&wire->replies, ret_reply);
}
