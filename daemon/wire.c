/* SPDX-License-Identifier: MIT
 *
 * DESIGN: two buffers for what goes out, one being filled while the other is being sent; commands
 * are written straight into the first, so that a pipelined call costs one copy and no allocation.
 * What comes in goes through hiredis' reader, with a guard in front of its arrays: the length that
 * a server claims is memory that we give before any of it has come, so all elements of one reply
 * share one budget. Bulks take memory only as their bytes come; the bytes of one reply are bounded.
 * Used by one link, on control. */
#include "daemon/wire.h"

#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "daemon/link.h"

/* What an idle buffer may keep. */
#define KEPT ((size_t)1 << 20)

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

struct buffer {
    char *bytes;
    size_t size, room;
};

struct ftl__wire {
    struct buffer filling, sending;
    struct redisReader *reader;
    redisReplyObjectFunctions functions; /* hiredis' own but for create_array() */
    void *(*create_array)(const redisReadTask *task, element_count elements);
    size_t elements_left; /* of the reply that is being read */
    size_t bytes_in;      /* since the last whole reply */
    bool refused;         /* by create_array() */
};

static void *create_array(const redisReadTask *task, element_count elements)
{
    struct ftl__wire *wire = task->privdata;
    if ((size_t)elements > wire->elements_left) {
        wire->refused = true;
        return NULL;
    }
    wire->elements_left -= (size_t)elements;
    return wire->create_array(task, elements);
}

int ftl__wire_open(struct ftl__wire **ret_wire)
{
    struct ftl__wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL)
        return FTL_ENOMEM;
    wire->reader = redisReaderCreate();
    if (wire->reader == NULL) {
        free(wire);
        return FTL_ENOMEM;
    }
    wire->functions = *wire->reader->fn;
    wire->create_array = wire->functions.createArray;
    wire->functions.createArray = create_array;
    wire->reader->fn = &wire->functions;
    wire->reader->privdata = wire;
    wire->reader->maxbuf = KEPT;
    wire->elements_left = FTL__LINK_MAX_ELEMENTS;
    *ret_wire = wire;
    return 0;
}

void ftl__wire_close(struct ftl__wire *wire)
{
    if (wire == NULL)
        return;
    redisReaderFree(wire->reader);
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

int ftl__wire_feed(struct ftl__wire *wire, const char *bytes, size_t size)
{
    struct redisReader *reader = wire->reader;
    if (size > FTL__LINK_MAX_REPLY - wire->bytes_in)
        return FTL_ELIMIT;
    wire->bytes_in += size;
    if (redisReaderFeed(reader, bytes, size) != REDIS_OK)
        return reader->err == REDIS_ERR_OOM ? FTL_ENOMEM : FTL_EPROTO;
    return 0;
}

int ftl__wire_next(struct ftl__wire *wire, struct redisReply **ret_reply)
{
    void *reply = NULL;
    if (redisReaderGetReply(wire->reader, &reply) != REDIS_OK) {
        if (wire->refused)
            return FTL_ELIMIT;
        return wire->reader->err == REDIS_ERR_OOM ? FTL_ENOMEM : FTL_EPROTO;
    }
    if (reply == NULL)
        return FTL_EAGAIN;
    wire->elements_left = FTL__LINK_MAX_ELEMENTS;
    wire->bytes_in = wire->reader->len - wire->reader->pos;
    *ret_reply = reply;
    return 0;
}
