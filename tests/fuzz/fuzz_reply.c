/* SPDX-License-Identifier: MIT
 *
 * Any bytes as replies of a server, in pieces of any size. What comes out of daemon/reply is what
 * hiredis' reader makes of them, as far as both go. */
#include <hiredis/hiredis.h>
#include <string.h>

#include <fettle/error.h>

#include "daemon/reply.h"
#include "tests/fuzz/fuzz.h"

#define MAX_ELEMENTS 10000
#define MAX_BYTES 100000
#define MAX_REPLIES 4096

const char *const fuzz_seeds[] = {
    "+OK\r\n-ERR no\r\n:42\r\n:-1\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n$5\r\nhello\r\n",
    "*2\r\n$16\r\n1796012682799793\r\n*5\r\n:1\r\n$16\r\n1796012682799794\r\n$2\r\nok\r\n"
    "*2\r\n$14\r\n{\"class\":\"No\"}\r\n$7\r\n{\"a\":1}\r\n*0\r\n",
    "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:7\r\n*3\r\n$1\r\nx\r\n$-1\r\n+status\r\n",
    "-READONLY You can't write against a read only replica.\r\n*3\r\n:1\r\n-NOPERM\r\n:0\r\n",
    "",
    NULL};

static struct redisReply *replies[MAX_REPLIES];
static size_t count;

static int take(struct ftl__replies *from)
{
    int status;
    do
        status = ftl__replies_next(from, &replies[count]);
    while (status == 0 && ++count < MAX_REPLIES);
    return status;
}

/* The sizes of the pieces follow from the bytes. FTL_EAGAIN, or why it went no further. */
static int feed(struct ftl__replies *to, const uint8_t *data, size_t size)
{
    size_t step = size > 0 ? data[size / 2] : 0;
    int status = FTL_EAGAIN;
    while (size > 0 && status == FTL_EAGAIN) {
        char *space;
        size_t room;
        FUZZ_CHECK(ftl__replies_space(to, &space, &room) == 0);
        step = step * 37 % 61 + 1;
        room = room < size ? room : size;
        room = room < step ? room : step;
        memcpy(space, data, room);
        ftl__replies_filled(to, room);
        data += room;
        size -= room;
        status = take(to);
    }
    FUZZ_CHECK(status == FTL_EAGAIN || status == FTL_EPROTO || status == FTL_ELIMIT);
    return status;
}

static void check_same(const struct redisReply *ours, const struct redisReply *theirs)
{
    FUZZ_CHECK(ours->type == theirs->type);
    FUZZ_CHECK(ours->integer == theirs->integer);
    FUZZ_CHECK((ours->str == NULL) == (theirs->str == NULL) && ours->len == theirs->len);
    FUZZ_CHECK(ours->str == NULL || memcmp(ours->str, theirs->str, ours->len + 1) == 0);
    FUZZ_CHECK(ours->elements == theirs->elements);
    for (size_t i = 0; i < ours->elements; i++)
        check_same(ours->element[i], theirs->element[i]);
}

static void compare(const uint8_t *data, size_t size, int status)
{
    redisReader *reader = redisReaderCreate();
    FUZZ_CHECK(reader != NULL);
    FUZZ_CHECK(redisReaderFeed(reader, (const char *)data, size) == REDIS_OK);
    for (size_t i = 0;; i++) {
        void *theirs = NULL;
        if (redisReaderGetReply(reader, &theirs) != REDIS_OK || theirs == NULL)
            break;
        FUZZ_CHECK(i < count || status != FTL_EAGAIN); /* we are not the ones who wait */
        if (i < count)
            check_same(replies[i], theirs);
        freeReplyObject(theirs);
    }
    redisReaderFree(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ftl__replies from;
    count = 0;
    ftl__replies_init(&from, MAX_ELEMENTS, MAX_BYTES);
    int status = feed(&from, data, size);
    /* hiredis would give memory for as many elements as it is told. */
    if (status != FTL_ELIMIT)
        compare(data, size, status);
    for (size_t i = 0; i < count; i++)
        ftl__reply_free(replies[i]);
    ftl__replies_fini(&from);
    return 0;
}
