/* SPDX-License-Identifier: MIT
 *
 * DESIGN: keys are the prefix and a name, built with bounded copies into fixed storage. Names come
 * from the configuration or are ours, and were checked where they came in; that they fit is
 * asserted. No state but the prefix; any thread. */
#include "daemon/keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>
#include <fettle/task.h>

static void build(struct ftl__key *key, const char *format, ...) FTL_PRINTF(2, 3);

static void build(struct ftl__key *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(key->text, sizeof key->text, format, args);
    va_end(args);
    ftl_assert(size > 0 && (size_t)size < sizeof key->text);
    key->size = (size_t)size;
}

int ftl__keys_open(const char *prefix, struct ftl__keys **ret_keys)
{
    size_t size = strlen(prefix);
    if (size > FTL__PREFIX_MAX)
        return FTL_ELIMIT;
    struct ftl__keys *keys = malloc(sizeof *keys);
    if (keys == NULL)
        return FTL_ENOMEM;
    keys->prefix_size = size;
    memcpy(keys->prefix, prefix, size + 1);
#define X(name, text) build(&keys->name, "%s%s", prefix, text);
    FTL__KEY_MAP(X)
#undef X
    *ret_keys = keys;
    return 0;
}

void ftl__keys_close(struct ftl__keys *keys)
{
    free(keys);
}

void ftl__key_queue(const struct ftl__keys *keys, const char *queue, struct ftl__key *ret_key)
{
    build(ret_key, "%squeue:%s", keys->prefix, queue);
}

void ftl__key_front(const struct ftl__keys *keys, const char *queue, struct ftl__key *ret_key)
{
    build(ret_key, "%sfettle:front:%s", keys->prefix, queue);
}

void ftl__key_batches(const struct ftl__keys *keys, const char *id, struct ftl__key *ret_key)
{
    build(ret_key, "%sfettle:batches:%s", keys->prefix, id);
}

void ftl__key_batch(const struct ftl__keys *keys, const char *id, uint64_t seq,
                    struct ftl__key *ret_key)
{
    build(ret_key, "%sfettle:batch:%s:%llu", keys->prefix, id, (unsigned long long)seq);
}

void ftl__key_process(const struct ftl__keys *keys, const char *id, const char *suffix,
                      struct ftl__key *ret_key)
{
    build(ret_key, "%s%s%s", keys->prefix, id, suffix);
}

void ftl__key_stat_day(const struct ftl__key *total, const char *day, struct ftl__key *ret_key)
{
    build(ret_key, "%s:%s", total->text, day);
}
