/* SPDX-License-Identifier: MIT
 *
 * DESIGN. One EVAL of the mark script, with as many names as there are jids. */
#include "cli/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "cli/ops.h"

#define LEAST_S 60
#define FIXED   5 /* EVAL text 1 key ttl */

/* The longest lease of all daemons, in seconds. */
static int longest_lease(struct ftl__redis *redis, double *ret_seconds)
{
    char key[FTL__REDIS_KEY];
    double longest = 0;
    ftl__redis_key(redis, "fettle:owners", NULL, key);
    redisReply *owners = ftl__redis_call_on(redis, key, REDIS_REPLY_ARRAY, "HGETALL %s", key);
    if (owners == NULL)
        return FTL__EXIT_FAILED;
    for (size_t i = 1; i < owners->elements; i += 2) { /* "FORMAT TTL_MS" */
        const char *ms = strchr(owners->element[i]->str, ' ');
        double seconds = ms != NULL ? strtod(ms, NULL) / 1000 : 0;
        if (seconds > longest && seconds < 1e6)
            longest = seconds;
    }
    freeReplyObject(owners);
    *ret_seconds = longest;
    return 0;
}

/* NULL: failed, and said. */
static redisReply *call(struct ftl__redis *redis, double ttl, const char *const *names, int count)
{
    char key[FTL__REDIS_KEY], seconds[32];
    const char **argv = calloc((size_t)count + FIXED, sizeof(*argv));
    size_t *sizes = calloc((size_t)count + FIXED, sizeof(*sizes));
    redisReply *reply = NULL;
    if (argv == NULL || sizes == NULL) {
        ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
        goto out;
    }
    snprintf(seconds, sizeof(seconds), "%.0f", ttl);
    argv[0] = "EVAL";
    argv[1] = ftl__ops_script("mark");
    argv[2] = "1";
    argv[3] = ftl__redis_key(redis, "fettle:cancelled", NULL, key);
    argv[4] = seconds;
    memcpy(argv + FIXED, names, (size_t)count * sizeof(*argv));
    for (int i = 0; i < count + FIXED; i++)
        sizes[i] = strlen(argv[i]);
    reply = ftl__redis_call_argv(redis, REDIS_REPLY_STRING, count + FIXED, argv, sizes);
out:
    free(argv);
    free(sizes);
    return reply;
}

static int mark_all(struct ftl__redis *redis, double ttl, char *const *names, int count,
                    uint64_t *ret_generation)
{
    redisReply *reply = call(redis, ttl, (const char *const *)names, count);
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    *ret_generation = reply->type == REDIS_REPLY_STRING ? strtoull(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    return 0;
}

int ftl__mark(struct ftl__redis *redis, const char *const *jids, int count, uint64_t token,
              uint64_t *ret_generation)
{
    int names = count > 0 ? count : 1, made = 0;
    char **name = calloc((size_t)names, sizeof(*name));
    double lease;
    int rc = name != NULL ? longest_lease(redis, &lease)
                          : ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    for (; rc == 0 && made < names; made += rc == 0) {
        int size = count > 0 ? asprintf(&name[made], "jid:%s", jids[made])
                             : asprintf(&name[made], "token:%" PRIu64, token);
        rc = size >= 0 ? 0 : ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    }
    if (rc == 0)
        rc = mark_all(redis, LEAST_S + 2 * lease, name, names, ret_generation);
    while (made > 0)
        free(name[--made]);
    free(name);
    return rc;
}

int ftl__mark_any(struct ftl__redis *redis, bool *ret_any)
{
    char key[FTL__REDIS_KEY];
    ftl__redis_key(redis, "fettle:cancelled", NULL, key);
    redisReply *reply = ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "EXISTS %s", key);
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    *ret_any = reply->integer > 0;
    freeReplyObject(reply);
    return 0;
}

int ftl__unmark(struct ftl__redis *redis, const char *jid)
{
    uint64_t generation;
    char *name;
    if (asprintf(&name, "jid:%s", jid) < 0)
        return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    int rc = mark_all(redis, 0, &name, 1, &generation);
    free(name);
    return rc;
}
