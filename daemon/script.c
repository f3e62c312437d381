/* SPDX-License-Identifier: MIT
 *
 * DESIGN: the texts are compiled in; the server tells their SHA1s when they are loaded, so nothing
 * here computes one. An invocation is a list of words, borrowed or copied into one arena by offset
 * (the arena moves while it grows), which become the argv of EVALSHA when the call begins. NOSCRIPT
 * means that nothing was run, so the repeat is safe whatever the script does. */
#include "daemon/script.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/complaint.h"
#include "daemon/scripts.h"

#define LOAD_TIMEOUT (5 * FTL_S)
#define SHA_SIZE     40
#define FIXED        3 /* EVALSHA sha numkeys */

static const char *const names[FTL__SCRIPT_COUNT] = {
#define X(id, name) [FTL__SCRIPT_##id] = name,
    FTL__SCRIPT_MAP(X)
#undef X
};

struct ftl__scripts {
    const struct ftl__script_source *source[FTL__SCRIPT_COUNT];
    char sha[FTL__SCRIPT_COUNT][SHA_SIZE + 1]; /* "": not loaded yet */
};

/* A word: borrowed bytes, or a stretch of the arena. */
struct ftl__invoke_arg {
    const char *borrowed;
    size_t offset, size;
};

/* ---- scripts ---------------------------------------------------------------------------- */

static const struct ftl__script_source *source_of(const char *name)
{
    for (size_t i = 0; i < ftl__script_source_count; i++)
        if (strcmp(ftl__script_sources[i].name, name) == 0)
            return &ftl__script_sources[i];
    return NULL;
}

int ftl__scripts_open(struct ftl__scripts **ret_scripts)
{
    struct ftl__scripts *scripts = calloc(1, sizeof *scripts);
    if (scripts == NULL)
        return FTL_ENOMEM;
    for (size_t i = 0; i < FTL__SCRIPT_COUNT; i++) {
        scripts->source[i] = source_of(names[i]);
        if (scripts->source[i] == NULL) {
            free(scripts);
            return FTL_ENOENT;
        }
    }
    *ret_scripts = scripts;
    return 0;
}

void ftl__scripts_close(struct ftl__scripts *scripts)
{
    free(scripts);
}

static int begin_load(const struct ftl__script_source *source, struct ftl__link *link,
                      struct ftl__call *call, int64_t deadline)
{
    const char *argv[3] = {"SCRIPT", "LOAD", source->text};
    size_t argvlen[3] = {6, 4, source->size};
    return ftl__link_begin(link, call, &(struct ftl__command){3, argv, argvlen}, deadline);
}

static int end_load(struct ftl__call *call, const char *name, char sha[SHA_SIZE + 1])
{
    struct redisReply *reply;
    int status = ftl__link_wait(call, &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_STRING, name);
    if (status == 0 && reply->len != SHA_SIZE)
        status = FTL_EPROTO;
    if (status == 0)
        memcpy(sha, reply->str, SHA_SIZE + 1);
    ftl__reply_free(reply);
    return status;
}

int ftl__scripts_load(struct ftl__scripts *scripts, struct ftl__link *link, int64_t deadline)
{
    struct ftl__call calls[FTL__SCRIPT_COUNT];
    int begun = 0, result = 0;
    while (begun < FTL__SCRIPT_COUNT && result == 0) {
        result = begin_load(scripts->source[begun], link, &calls[begun], deadline);
        begun += result == 0;
    }
    for (int i = 0; i < begun; i++) {
        int status = end_load(&calls[i], names[i], scripts->sha[i]);
        result = result != 0 ? result : status;
    }
    return result;
}

int ftl__scripts_on_up(void *arg, struct ftl__link *link)
{
    return ftl__scripts_load(arg, link, ftl_deadline(LOAD_TIMEOUT));
}

/* ---- building --------------------------------------------------------------------------- */

void ftl__invoke_init(struct ftl__invoke *invoke)
{
    *invoke = (struct ftl__invoke){0};
}

void ftl__invoke_free(struct ftl__invoke *invoke)
{
    free(invoke->args);
    free(invoke->arena);
    free(invoke->argv);
    free(invoke->argvlen);
    *invoke = (struct ftl__invoke){0};
}

void ftl__invoke_start(struct ftl__invoke *invoke, enum ftl__script script)
{
    invoke->script = script;
    invoke->key_count = 0;
    invoke->failed = false;
    invoke->arg_count = 0;
    invoke->arena_size = 0;
}

/* Doubles an array of `item` bytes each until it holds `needed`; false: as it was. */
static bool grow(void **array, size_t *room, size_t needed, size_t item)
{
    size_t larger = *room == 0 ? 64 : *room;
    while (larger < needed)
        larger *= 2;
    if (larger == *room)
        return true;
    void *moved = realloc(*array, larger * item);
    if (moved == NULL)
        return false;
    *array = moved;
    *room = larger;
    return true;
}

static void add_word(struct ftl__invoke *invoke, struct ftl__invoke_arg word)
{
    void *args = invoke->args;
    if (!grow(&args, &invoke->arg_room, invoke->arg_count + 1, sizeof *invoke->args))
        invoke->failed = true;
    invoke->args = args;
    if (!invoke->failed)
        invoke->args[invoke->arg_count++] = word;
}

static void add_copy(struct ftl__invoke *invoke, const char *bytes, size_t size)
{
    void *arena = invoke->arena;
    if (!grow(&arena, &invoke->arena_room, invoke->arena_size + size, 1))
        invoke->failed = true;
    invoke->arena = arena;
    if (invoke->failed)
        return;
    memcpy(invoke->arena + invoke->arena_size, bytes, size);
    add_word(invoke, (struct ftl__invoke_arg){NULL, invoke->arena_size, size});
    invoke->arena_size += size;
}

void ftl__invoke_key(struct ftl__invoke *invoke, const struct ftl__key *key)
{
    ftl_assert(invoke->failed || invoke->key_count == invoke->arg_count);
    add_copy(invoke, key->text, key->size);
    invoke->key_count++;
}

void ftl__invoke_bytes(struct ftl__invoke *invoke, const void *bytes, size_t size)
{
    add_word(invoke, (struct ftl__invoke_arg){size > 0 ? bytes : "", 0, size});
}

void ftl__invoke_text(struct ftl__invoke *invoke, const char *text)
{
    add_copy(invoke, text, strlen(text));
}

void ftl__invoke_uint(struct ftl__invoke *invoke, uint64_t value)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%" PRIu64, value);
    add_copy(invoke, text, (size_t)size);
}

void ftl__invoke_time(struct ftl__invoke *invoke, double seconds)
{
    char text[336]; /* of the largest double */
    int size = snprintf(text, sizeof text, "%.6f", seconds);
    add_copy(invoke, text, (size_t)size);
}

/* ---- calling ---------------------------------------------------------------------------- */

static bool reserve_argv(struct ftl__invoke *invoke, size_t count)
{
    if (count <= invoke->argv_room)
        return true;
    size_t room = 2 * count;
    const char **argv = realloc(invoke->argv, room * sizeof *argv);
    if (argv == NULL)
        return false;
    invoke->argv = argv;
    size_t *argvlen = realloc(invoke->argvlen, room * sizeof *argvlen);
    if (argvlen == NULL)
        return false;
    invoke->argvlen = argvlen;
    invoke->argv_room = room;
    return true;
}

static void set_word(struct ftl__invoke *invoke, size_t i, const char *bytes, size_t size)
{
    invoke->argv[i] = bytes;
    invoke->argvlen[i] = size;
}

int ftl__invoke_begin(struct ftl__invoke *invoke, const struct ftl__scripts *scripts,
                      struct ftl__link *link, struct ftl__call *call, int64_t deadline)
{
    const char *sha = scripts->sha[invoke->script];
    size_t count = invoke->arg_count + FIXED;
    if (sha[0] == '\0')
        return FTL_ECONN;
    if (invoke->failed || !reserve_argv(invoke, count))
        return FTL_ENOMEM;
    int digits = snprintf(invoke->numkeys, sizeof invoke->numkeys, "%u", invoke->key_count);
    set_word(invoke, 0, "EVALSHA", 7);
    set_word(invoke, 1, sha, SHA_SIZE);
    set_word(invoke, 2, invoke->numkeys, (size_t)digits);
    for (size_t i = 0; i < invoke->arg_count; i++) {
        const struct ftl__invoke_arg *word = &invoke->args[i];
        set_word(invoke, FIXED + i,
                 word->borrowed != NULL ? word->borrowed : invoke->arena + word->offset,
                 word->size);
    }
    struct ftl__command command = {(int)count, invoke->argv, invoke->argvlen};
    return ftl__link_begin(link, call, &command, deadline);
}

static int repeat(struct ftl__invoke *invoke, struct ftl__scripts *scripts, struct ftl__link *link,
                  int64_t deadline, struct redisReply **ret_reply)
{
    struct ftl__call call;
    int status = ftl__scripts_load(scripts, link, deadline);
    if (status == 0)
        status = ftl__invoke_begin(invoke, scripts, link, &call, deadline);
    return status != 0 ? status : ftl__link_wait(&call, ret_reply);
}

int ftl__invoke_wait(struct ftl__invoke *invoke, struct ftl__scripts *scripts,
                     struct ftl__call *call, struct redisReply **ret_reply)
{
    struct redisReply *reply;
    struct ftl__link *link = call->link;
    int status = ftl__link_wait(call, &reply);
    if (status == 0 && ftl__reply_is_error(reply, "NOSCRIPT")) {
        ftl__reply_free(reply);
        status = repeat(invoke, scripts, link, call->deadline, &reply);
    }
    if (status != 0)
        return status;
    *ret_reply = reply;
    return 0;
}

int ftl__invoke_run(struct ftl__invoke *invoke, struct ftl__scripts *scripts,
                    struct ftl__link *link, int64_t deadline, struct redisReply **ret_reply)
{
    struct ftl__call call;
    int status = ftl__invoke_begin(invoke, scripts, link, &call, deadline);
    return status != 0 ? status : ftl__invoke_wait(invoke, scripts, &call, ret_reply);
}

/* ---- replies ---------------------------------------------------------------------------- */

int ftl__reply_check(const struct redisReply *reply, int type, const char *what)
{
    if (reply->type == type)
        return 0;
    if (ftl__reply_is_error(reply, "FENCED"))
        return FTL_EFENCED;
    const char *reason =
        reply->type == REDIS_REPLY_ERROR ? reply->str : "a reply of an unexpected type";
    ftl__complain(what, NULL, reason);
    return FTL_EPROTO;
}
