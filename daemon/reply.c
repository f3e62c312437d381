/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A claim brings hundreds of jobs, and hiredis' reader copies each twice and makes two
 * allocations for it, which cost more than all else that control does for a job but its scan. So
 * replies are read in place. One pass over what has come looks for the end of the reply: a count of
 * the elements that are still to come is all that it must remember, so it goes on where it stopped,
 * whatever piece comes next. It checks everything. When the reply is whole, its nodes are made, all
 * in one block, and its texts end with a NUL where their line ended.
 *
 * A buffer belongs to the connection and to the replies that were read in it, and is used from its
 * beginning again when there are none. What a server claims is to come takes no memory: a buffer is
 * doubled when it is full. It follows the largest reply, within bounds. */
#include "daemon/reply.h"

#include <hiredis/hiredis.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "runtime/list.h"

#define ROOM_MIN ((size_t)32 << 10)
#define ROOM_KEPT ((size_t)1 << 20) /* a larger buffer is given back when it is empty */
#define NUMBER_MAX 20               /* digits and sign of a length or an integer */
#define READ_MIN ((size_t)8 << 10)  /* less room than this is not worth a read */

struct ftl__reply_buffer {
    uint32_t refs;
    size_t room, size;
    char bytes[];
};

/* A reply: behind its nodes, the root first, stand the pointers to them. */
struct block {
    struct ftl__reply_buffer *buffer;
    struct redisReply nodes[];
};

/* ---- the buffer ----------------------------------------------------------------------------- */

static void unref(struct ftl__reply_buffer *buffer)
{
    if (buffer != NULL && --buffer->refs == 0)
        free(buffer);
}

void ftl__replies_init(struct ftl__replies *replies, size_t max_elements, size_t max_bytes)
{
    *replies = (struct ftl__replies){.max_elements = max_elements, .max_bytes = max_bytes};
}

void ftl__replies_fini(struct ftl__replies *replies)
{
    unref(replies->buffer);
    replies->buffer = NULL;
}

/* Room for two of the largest replies, or twice of what has come of this one. */
static size_t wanted_room(const struct ftl__replies *replies, size_t tail)
{
    size_t room = 2 * (replies->largest > tail ? replies->largest : tail);
    if (room > ROOM_KEPT && 2 * tail <= ROOM_KEPT)
        room = ROOM_KEPT;
    return room < ROOM_MIN ? ROOM_MIN : room;
}

/* A new buffer that begins with what has come of the reply. */
static int renew(struct ftl__replies *replies, size_t tail)
{
    size_t room = wanted_room(replies, tail);
    struct ftl__reply_buffer *buffer = malloc(sizeof *buffer + room);
    if (buffer == NULL)
        return FTL_ENOMEM;
    buffer->refs = 1;
    buffer->room = room;
    buffer->size = tail;
    if (tail > 0)
        memcpy(buffer->bytes, replies->buffer->bytes + replies->begin, tail);
    unref(replies->buffer);
    replies->buffer = buffer;
    replies->begin = 0;
    return 0;
}

int ftl__replies_space(struct ftl__replies *replies, char **ret_space, size_t *ret_size)
{
    struct ftl__reply_buffer *buffer = replies->buffer;
    size_t tail = buffer != NULL ? buffer->size - replies->begin : 0;
    bool kept = buffer != NULL && buffer->room <= ROOM_KEPT;
    if (tail > replies->max_bytes)
        return FTL_ELIMIT;
    if (tail == 0 && kept && buffer->refs == 1)
        buffer->size = replies->begin = 0;
    /* A reply that would not fit in the rest would be copied: better to begin it elsewhere. */
    size_t least = tail == 0 && replies->largest < ROOM_KEPT / 2 ? replies->largest : 0;
    least = least > READ_MIN ? least : READ_MIN;
    if (buffer == NULL || buffer->room - buffer->size < least || (tail == 0 && !kept)) {
        int status = renew(replies, tail);
        if (status != 0)
            return status;
    }
    *ret_space = replies->buffer->bytes + replies->buffer->size;
    *ret_size = replies->buffer->room - replies->buffer->size;
    return 0;
}

void ftl__replies_filled(struct ftl__replies *replies, size_t size)
{
    replies->buffer->size += size;
}

/* ---- its end -------------------------------------------------------------------------------- */

/* Reads "123\r\n" or "-1\r\n" between `at` and `end`: what is behind it; NULL: *ret_status. */
static const char *read_number(const char *at, const char *end, long long *ret_value,
                               int *ret_status)
{
    const char *begin = at;
    bool negative = at < end && *at == '-';
    unsigned long long value = 0;
    at += negative;
    const char *digits = at;
    for (; at < end && (unsigned char)(*at - '0') <= 9; at++) {
        unsigned digit = (unsigned char)(*at - '0');
        if (value > ((unsigned long long)LLONG_MAX - digit) / 10)
            goto garbage;
        value = 10 * value + digit;
    }
    if (at - begin > NUMBER_MAX || (at < end && (at == digits || *at != '\r')))
        goto garbage;
    if (end - at < 2) {
        *ret_status = FTL_EAGAIN;
        return NULL;
    }
    if (at[1] != '\n')
        goto garbage;
    *ret_value = negative ? -(long long)value : (long long)value;
    return at + 2;

garbage:
    *ret_status = FTL_EPROTO;
    return NULL;
}

static const char *skip_line(const char *at, const char *end, int *ret_status)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    *ret_status = newline != NULL                             ? FTL_EPROTO
                  : (size_t)(end - at) > FTL__REPLY_LINE_MAX ? FTL_ELIMIT
                                                             : FTL_EAGAIN;
    return newline != NULL && newline > at && newline[-1] == '\r' ? newline + 1 : NULL;
}

static const char *skip_bulk(const struct ftl__replies *replies, const char *at, const char *end,
                             int *ret_status)
{
    long long size;
    at = read_number(at, end, &size, ret_status);
    if (at == NULL || size == -1)
        return at;
    *ret_status = size < 0 ? FTL_EPROTO
                  : (unsigned long long)size > replies->max_bytes ? FTL_ELIMIT
                                                                  : FTL_EAGAIN;
    if (*ret_status != FTL_EAGAIN || end - at < size + 2)
        return NULL;
    *ret_status = FTL_EPROTO;
    return at[size] == '\r' && at[size + 1] == '\n' ? at + size + 2 : NULL;
}

static const char *skip_array(struct ftl__replies *replies, const char *at, const char *end,
                              int *ret_status)
{
    long long elements;
    at = read_number(at, end, &elements, ret_status);
    if (at == NULL || elements == -1)
        return at;
    *ret_status = elements < 0 ? FTL_EPROTO : FTL_ELIMIT;
    if (elements < 0 ||
        (unsigned long long)elements > replies->max_elements - replies->count)
        return NULL;
    replies->count += (size_t)elements;
    replies->left += (size_t)elements;
    return at;
}

/* One element; an array's head alone. What is behind it, or NULL with *ret_status. */
static const char *skip_element(struct ftl__replies *replies, const char *at, const char *end,
                                int *ret_status)
{
    long long value;
    *ret_status = FTL_EAGAIN;
    if (at == end)
        return NULL;
    switch (*at) {
    case '$': return skip_bulk(replies, at + 1, end, ret_status);
    case '*': return skip_array(replies, at + 1, end, ret_status);
    case ':': return read_number(at + 1, end, &value, ret_status);
    case '+':
    case '-': return skip_line(at + 1, end, ret_status);
    default: *ret_status = FTL_EPROTO; return NULL;
    }
}

/* Goes on to the end of the reply, if it has come: 0. */
static int find_end(struct ftl__replies *replies)
{
    const struct ftl__reply_buffer *buffer = replies->buffer;
    const char *begin = buffer->bytes + replies->begin, *end = buffer->bytes + buffer->size;
    if (replies->left == 0) {
        replies->seen = 0;
        replies->left = 1;
        replies->count = 0;
    }
    while (replies->left > 0) {
        int status;
        const char *next = skip_element(replies, begin + replies->seen, end, &status);
        if (next == NULL)
            return status;
        replies->seen = (size_t)(next - begin);
        replies->left--;
    }
    return 0;
}

/* ---- its nodes ------------------------------------------------------------------------------ */

struct level {
    struct redisReply *next, *end;
};

struct builder {
    struct redisReply *nodes;    /* the next unused one */
    struct redisReply **pointers; /* the same */
    struct level levels[FTL__REPLY_DEPTH];
    size_t depth;
};

/* A number that find_end() has checked. */
static char *take_number(char *at, long long *ret_value)
{
    bool negative = *at == '-';
    unsigned long long value = 0;
    for (at += negative; *at != '\r'; at++)
        value = 10 * value + (unsigned char)(*at - '0');
    *ret_value = negative ? -(long long)value : (long long)value;
    return at + 2;
}

static char *take_line(struct redisReply *node, char *at)
{
    char *newline = at;
    while (*newline != '\n') /* find_end() has seen it */
        newline++;
    node->str = at;
    node->len = (size_t)(newline - 1 - at);
    newline[-1] = '\0';
    return newline + 1;
}

static char *take_bulk(struct redisReply *node, char *at)
{
    long long size;
    at = take_number(at, &size);
    if (size < 0) {
        node->type = REDIS_REPLY_NIL;
        return at;
    }
    node->type = REDIS_REPLY_STRING;
    node->str = at;
    node->len = (size_t)size;
    at[size] = '\0';
    return at + size + 2;
}

/* NULL: too deep. */
static char *take_array(struct builder *builder, struct redisReply *node, char *at)
{
    long long count;
    at = take_number(at, &count);
    node->type = count < 0 ? REDIS_REPLY_NIL : REDIS_REPLY_ARRAY;
    if (count <= 0)
        return at;
    if (builder->depth == FTL__REPLY_DEPTH)
        return NULL;
    node->elements = (size_t)count;
    node->element = builder->pointers;
    builder->levels[builder->depth++] =
        (struct level){builder->nodes, builder->nodes + node->elements};
    for (size_t i = 0; i < node->elements; i++)
        *builder->pointers++ = builder->nodes++;
    return at;
}

static char *take_element(struct builder *builder, struct redisReply *node, char *at)
{
    *node = (struct redisReply){0};
    switch (*at) {
    case '$':
        return take_bulk(node, at + 1);
    case '*':
        return take_array(builder, node, at + 1);
    case ':':
        node->type = REDIS_REPLY_INTEGER;
        return take_number(at + 1, &node->integer);
    default:
        node->type = *at == '+' ? REDIS_REPLY_STATUS : REDIS_REPLY_ERROR;
        return take_line(node, at + 1);
    }
}

/* Depth first, as they come. False: too deep. */
static bool build(struct block *block, size_t count, char *at)
{
    struct builder builder = {.nodes = block->nodes + 1};
    struct redisReply *node = block->nodes;
    builder.pointers = (struct redisReply **)(void *)(block->nodes + count);
    while (node != NULL) {
        at = take_element(&builder, node, at);
        if (at == NULL)
            return false;
        while (builder.depth > 0 &&
               builder.levels[builder.depth - 1].next == builder.levels[builder.depth - 1].end)
            builder.depth--;
        node = builder.depth > 0 ? builder.levels[builder.depth - 1].next++ : NULL;
    }
    return true;
}

int ftl__replies_next(struct ftl__replies *replies, struct redisReply **ret_reply)
{
    struct ftl__reply_buffer *buffer = replies->buffer;
    if (buffer == NULL || buffer->size == replies->begin)
        return FTL_EAGAIN;
    int status = find_end(replies);
    if (status != 0)
        return status;
    size_t count = 1 + replies->count;
    struct block *block = malloc(sizeof *block + count * sizeof *block->nodes +
                                 replies->count * sizeof(struct redisReply *));
    if (block == NULL)
        return FTL_ENOMEM;
    if (!build(block, count, buffer->bytes + replies->begin)) {
        free(block);
        return FTL_ELIMIT;
    }
    block->buffer = buffer;
    buffer->refs++;
    replies->begin += replies->seen;
    if (replies->seen > replies->largest)
        replies->largest = replies->seen;
    *ret_reply = block->nodes;
    return 0;
}

/* Before Redis 7, what a script has met stands behind where: "ERR Error running script (call to
 * f_…): @user_script:4: @user_script: 4: -READONLY You can't write …". */
static const char *error_code(const char *text)
{
    static const char script[] = "ERR Error running script";
    const char *met =
        strncmp(text, script, sizeof script - 1) == 0 ? strstr(text, ": -") : NULL;
    return met != NULL ? met + 3 : text;
}

bool ftl__reply_is_error(const struct redisReply *reply, const char *code)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return false;
    const char *text = error_code(reply->str);
    size_t size = strlen(code);
    return strncmp(text, code, size) == 0 && (text[size] == ' ' || text[size] == '\0');
}

void ftl__reply_free(struct redisReply *reply)
{
    if (reply == NULL)
        return;
    struct block *block = ftl__container(reply, struct block, nodes);
    unref(block->buffer);
    free(block);
}
