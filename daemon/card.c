/* SPDX-License-Identifier: MIT
 *
 * DESIGN: one record that holds what the dashboards of all three layouts want: `queues` and
 * `weights` for the older ones, `capsules` for the newest, `concurrency` here and in the hash. Some
 * of them fail on a page if a member is missing, so all are always there. */
#include "daemon/card.h"

#include <config.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *queue_names(const struct ftl__config *config)
{
    json_t *names = json_array();
    for (size_t i = 0; i < config->queue_count; i++)
        json_array_append_new(names, json_string(config->queues[i].name));
    return names;
}

/* 0 means that the order is strict. */
static json_t *queue_weights(const struct ftl__config *config)
{
    json_t *weights = json_object();
    bool weighted = config->order == FTL__ORDER_WEIGHTED;
    for (size_t i = 0; i < config->queue_count; i++)
        json_object_set_new(weights, config->queues[i].name,
                            json_integer(weighted ? config->queues[i].weight : 0));
    return weights;
}

static char *dump(json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

static long long pid_of(const char *id)
{
    const char *colon = strchr(id, ':');
    return colon != NULL ? strtoll(colon + 1, NULL, 10) : 0;
}

char *ftl__card_process(const char *id, double started_at, const struct ftl__config *config)
{
    const char *mode = config->order == FTL__ORDER_WEIGHTED ? "weighted" : "strict";
    json_int_t concurrency = config->concurrency;
    json_t *capsule = json_pack("{s:I s:s s:o}", "concurrency", concurrency, "mode", mode,
                                "weights", queue_weights(config));
    json_t *card =
        json_pack("{s:s% s:I s:s s:f s:I s:o s:[o] s:{s:o}}", "hostname", id, strcspn(id, ":"),
                  "pid", (json_int_t)pid_of(id), "identity", id, "started_at", started_at,
                  "concurrency", concurrency, "queues", queue_names(config), "weights",
                  queue_weights(config), "capsules", "default", capsule);
    json_t *rest = json_pack("{s:s s:[] s:s s:b}", "tag", "fettle", "labels", "version",
                             "fettle " PACKAGE_VERSION, "embedded", 0);
    if (card != NULL && rest != NULL)
        json_object_update(card, rest);
    json_decref(rest);
    return dump(card);
}

char *ftl__card_run(const struct ftl__roster_run *run)
{
    return dump(json_pack("{s:s s:s% s:I}", "queue", run->queue, "payload", run->bytes, run->size,
                          "run_at", (json_int_t)run->started_at));
}
