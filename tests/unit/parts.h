/* SPDX-License-Identifier: MIT
 *
 * What the parts of the daemon stand on: scripts, keys and a link to a private Redis. */
#ifndef FETTLE_TESTS_PARTS_H
#define FETTLE_TESTS_PARTS_H

#include <fettle/time.h>

#include "daemon/keys.h"
#include "daemon/lease.h"
#include "daemon/link.h"
#include "daemon/script.h"
#include "tests/unit/redis.h"

struct unit_parts {
    struct unit_redis redis;
    struct ftl__scripts *scripts;
    struct ftl__keys *keys;
    struct ftl__link *link;
};

static inline void *unit_parts_open_task(void *arg)
{
    struct unit_parts *parts = arg;
    ftl_assert(ftl__scripts_open(&parts->scripts) == 0);
    ftl_assert(ftl__keys_open("", &parts->keys) == 0);
    struct ftl__link_options options = {.runtime = parts->redis.control,
                                        .address = &parts->redis.address,
                                        .name = "test",
                                        .on_up = ftl__scripts_on_up,
                                        .arg = parts->scripts};
    ftl_assert(ftl__link_open(&options, &parts->link) == 0);
    ftl_assert(ftl__link_wait_up(parts->link, ftl_deadline(60 * FTL_S)) == 0);
    return NULL;
}

static inline void *unit_parts_close_task(void *arg)
{
    struct unit_parts *parts = arg;
    ftl__link_close(parts->link);
    ftl__keys_close(parts->keys);
    ftl__scripts_close(parts->scripts);
    return NULL;
}

static inline void unit_parts_open(struct unit_parts *parts)
{
    unit_redis_open(&parts->redis, NULL);
    unit_on_control(&parts->redis, unit_parts_open_task, parts);
}

static inline void unit_parts_close(struct unit_parts *parts)
{
    unit_on_control(&parts->redis, unit_parts_close_task, parts);
    unit_redis_close(&parts->redis);
}

#endif
