/* SPDX-License-Identifier: MIT
 *
 * The park: bounds of handlers across reloads, and who waits for them. */
#include "daemon/park.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "daemon/queues.h"
#include "tests/unit/unit.h"

static int never_run(struct ftl__handler *handler, struct ftl_run *run)
{
    (void)handler;
    (void)run;
    return 0;
}

static void destroy(struct ftl__handler *handler)
{
    free(handler->pattern);
    free(handler);
}

static const struct ftl__handler_kind kind = {.name = "test", .run = never_run, .destroy = destroy};

static struct ftl__handler *add(struct ftl__registry *registry, const char *pattern,
                                uint32_t concurrency)
{
    struct ftl__handler *handler = calloc(1, sizeof *handler);
    ck_assert_ptr_ne(handler, NULL);
    handler->kind = &kind;
    handler->refs = 1;
    handler->pattern = strdup(pattern);
    handler->concurrency = concurrency;
    ck_assert_int_eq(ftl__registry_add(registry, handler), 0);
    return handler;
}

static struct ftl__slot *slot_of(struct ftl__bound *bound, struct ftl__queue *queue)
{
    struct ftl__slot *slot = calloc(1, sizeof *slot);
    ck_assert_ptr_ne(slot, NULL);
    slot->state = FTL__SLOT_CLAIMED;
    slot->bound = bound;
    slot->queue = queue;
    return slot;
}

START_TEST(only_bounded_handlers_have_a_bound)
{
    struct ftl__registry *registry = ftl__registry_new();
    struct ftl__handler *free_one = add(registry, "Free", 0), *bounded = add(registry, "B*", 2);
    struct ftl__park park;
    ftl__park_init(&park, 4);
    ck_assert_int_eq(ftl__park_configure(&park, registry), 0);
    ck_assert_ptr_eq(ftl__park_bound(&park, free_one), NULL);
    ck_assert_uint_eq(ftl_semaphore_available(ftl__park_bound(&park, bounded)->semaphore), 2);
    ftl__park_free(&park);
    ftl__registry_free(registry);
}
END_TEST

START_TEST(a_bound_outlives_its_handler)
{
    struct ftl__registry *old = ftl__registry_new(), *new = ftl__registry_new();
    struct ftl__handler *first = add(old, "A", 2), *second = add(old, "A", 5);
    struct ftl__park park;
    ftl__park_init(&park, 4);
    ck_assert_int_eq(ftl__park_configure(&park, old), 0);
    struct ftl__bound *bounds[] = {ftl__park_bound(&park, first), ftl__park_bound(&park, second)};
    struct ftl_permit permit = {0};
    ck_assert_int_eq(ftl_semaphore_try_acquire(bounds[0]->semaphore, 2, &permit), 0);
    struct ftl__handler *again = add(new, "A", 3);
    ck_assert_int_eq(ftl__park_configure(&park, new), 0);
    ftl__registry_free(old);
    ck_assert_ptr_eq(ftl__park_bound(&park, again), bounds[0]);
    ck_assert_uint_eq(ftl_semaphore_available(bounds[0]->semaphore), 1); /* 3, and 2 are out */
    ck_assert_ptr_eq(bounds[1]->handler, NULL);
    ftl_permit_release(&permit);
    ftl__park_free(&park);
    ftl__registry_free(new);
}
END_TEST

START_TEST(first_parked_first_out_and_counted)
{
    struct ftl__registry *registry = ftl__registry_new();
    struct ftl__handler *handler = add(registry, "A", 1);
    struct ftl__queue queue = {.name = "q"};
    struct ftl__slot *slots[3];
    struct ftl__park park;
    ftl__park_init(&park, 3);
    ck_assert_int_eq(ftl__park_configure(&park, registry), 0);
    struct ftl__bound *bound = ftl__park_bound(&park, handler);
    ck_assert_int_eq(ftl__park_until(&park), INT64_MAX);
    for (int i = 0; i < 3; i++) {
        slots[i] = slot_of(bound, &queue);
        ftl__park_add(&park, slots[i], 100 + i);
    }
    ck_assert_uint_eq(ftl__park_room(&park), 0);
    ck_assert_uint_eq(queue.parked, 3);
    ck_assert_ptr_eq(ftl__park_first(bound), slots[0]);
    ftl__park_remove(&park, slots[0]);
    ck_assert_ptr_eq(ftl__park_first(bound), slots[1]);
    ck_assert_int_eq(ftl__park_until(&park), 101 + FTL__PARK_TIME);
    ck_assert_ptr_eq(ftl__park_take(&park, 100), NULL);
    ck_assert_ptr_eq(ftl__park_take(&park, 101), slots[1]);
    ck_assert_ptr_eq(ftl__park_take(&park, INT64_MAX), slots[2]);
    ck_assert_ptr_eq(ftl__park_take(&park, INT64_MAX), NULL);
    ck_assert_uint_eq(queue.parked, 0);
    ck_assert_uint_eq(ftl__park_room(&park), 3);
    park.max = 0; /* a reload below what is parked is no overflow */
    ck_assert_uint_eq(ftl__park_room(&park), 0);
    for (int i = 0; i < 3; i++)
        free(slots[i]);
    ftl__park_free(&park);
    ftl__registry_free(registry);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, only_bounded_handlers_have_a_bound);
    UNIT_CASE(suite, a_bound_outlives_its_handler);
    UNIT_CASE(suite, first_parked_first_out_and_counted);
}

UNIT_MAIN("park", add_cases)
