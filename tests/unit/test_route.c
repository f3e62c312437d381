/* SPDX-License-Identifier: MIT
 *
 * The route: which jobs reach a handler, as what, and what is said of the others; and the life of
 * their slots. */
#include "daemon/route.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "tests/unit/task_fixture.h"
#include "tests/unit/unit.h"

#define MAX_PAYLOAD 1000

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
static struct ftl__registry *registry;
static struct ftl__slots slots;
static struct ftl__route route;

static void setup(void)
{
    struct ftl__handler *handler = calloc(1, sizeof *handler);
    ck_assert_ptr_ne(handler, NULL);
    handler->kind = &kind;
    handler->refs = 1;
    handler->pattern = strdup("H*");
    registry = ftl__registry_new();
    ck_assert_int_eq(ftl__registry_add(registry, handler), 0);
    ftl__slots_init(&slots);
    ck_assert_int_eq(ftl__slots_reserve(&slots, 1), 0);
}

static void teardown(void)
{
    ftl__slots_free(&slots);
    ftl__registry_free(registry);
}

/* The slot of the job, NULL if it has no handler; then `route` says why. */
static struct ftl__slot *send(const char *text, size_t size, uint32_t recoveries)
{
    struct ftl__slot *slot = ftl__slots_take(&slots);
    ck_assert_int_eq(ftl__slot_set_bytes(slot, text, size), 0);
    ck_assert_int_eq(ftl__slots_reserve(&slots, 1), 0);
    int code = ftl__route(slot, registry, MAX_PAYLOAD, recoveries, &route);
    ck_assert(code == 0 || code == FTL_ENOENT);
    return code == 0 ? slot : NULL;
}
#define SEND(text) send((text), sizeof(text) - 1, 0)

START_TEST(a_job_has_its_class_and_jid)
{
    setup();
    struct ftl__slot *slot = SEND("{\"class\":\"Hello\",\"jid\":\"a1\",\"args\":[]}");
    ck_assert_str_eq(slot->run.class, "Hello");
    ck_assert_str_eq(slot->run.jid, "a1");
    ck_assert_uint_eq(slot->run.attempt, 1);
    ck_assert_str_eq(slot->run.handler->pattern, "H*");
    slot = SEND("{\"class\":\"\\u0048i\\/\"}");
    ck_assert_str_eq(slot->run.class, "Hi/");
    ck_assert_str_eq(slot->run.jid, "");
    teardown();
}
END_TEST

START_TEST(wrapped_is_tried_before_class)
{
    setup();
    ck_assert_str_eq(SEND("{\"class\":\"X\",\"wrapped\":\"Hw\"}")->run.class, "Hw");
    ck_assert_str_eq(SEND("{\"class\":\"Hc\",\"wrapped\":null}")->run.class, "Hc");
    teardown();
}
END_TEST

START_TEST(attempts_count_failures_and_recoveries)
{
    setup();
    static const char text[] = "{\"class\":\"H\",\"retry_count\":2}";
    ck_assert_uint_eq(send(text, sizeof text - 1, 3)->run.attempt, 1 + 3 + 3);
    ck_assert_uint_eq(SEND("{\"class\":\"H\",\"retry_count\":0}")->run.attempt, 2);
    ck_assert_uint_eq(SEND("{\"class\":\"H\",\"retry_count\":-5}")->run.attempt, 1);
    teardown();
}
END_TEST

START_TEST(what_is_no_job_stays_raw)
{
    setup();
    ck_assert_ptr_eq(SEND("garbage"), NULL);
    ck_assert_int_eq(route.end, FTL__END_RAW);
    ck_assert_str_ne(route.message, "");
    ck_assert_ptr_eq(SEND("[1]"), NULL);
    ck_assert_int_eq(route.end, FTL__END_RAW);
    ck_assert_ptr_eq(SEND(""), NULL);
    ck_assert_int_eq(route.end, FTL__END_RAW);
    teardown();
}
END_TEST

START_TEST(what_nobody_can_run_is_refused)
{
    static const char *const texts[] = {
        "{}", "{\"class\":7}", "{\"class\":\"\"}", "{\"class\":\"H\\u0000x\"}",
        "{\"class\":\"H\",\"bid\":\"b\"}", "{\"class\":\"H\",\"encrypt\":true}"};
    setup();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ck_assert_ptr_eq(send(texts[i], strlen(texts[i]), 0), NULL);
        ck_assert_int_eq(route.end, FTL__END_REFUSED);
    }
    ck_assert_ptr_ne(SEND("{\"class\":\"H\",\"bid\":null,\"encrypt\":false}"), NULL);
    ck_assert_ptr_eq(SEND("{\"class\":\"H\\u0000x\"}"), NULL);
    ck_assert_ptr_nonnull(strstr(route.message, "NUL"));
    teardown();
}
END_TEST

START_TEST(a_class_may_be_long_but_not_too_long)
{
    char text[400];
    setup();
    int size = snprintf(text, sizeof text, "{\"class\":\"H%0254d\"}", 0);
    ck_assert_uint_eq(strlen(send(text, (size_t)size, 0)->run.class), FTL__CLASS_MAX);
    size = snprintf(text, sizeof text, "{\"class\":\"H%0255d\"}", 0);
    ck_assert_ptr_eq(send(text, (size_t)size, 0), NULL);
    ck_assert_int_eq(route.end, FTL__END_REFUSED);
    ck_assert_ptr_nonnull(strstr(route.message, "too long"));
    teardown();
}
END_TEST

START_TEST(a_payload_may_grow_by_its_failures_only)
{
    char text[MAX_PAYLOAD + 200];
    setup();
    int size = snprintf(text, sizeof text, "{\"class\":\"H\",\"pad\":\"%0*d\"}", MAX_PAYLOAD, 0);
    ck_assert_ptr_eq(send(text, (size_t)size, 0), NULL);
    ck_assert_int_eq(route.end, FTL__END_REFUSED);
    ck_assert_str_eq(route.error_class, "PayloadTooLarge");
    size = snprintf(text, sizeof text, "{\"class\":\"H\",\"retry_count\":0,\"pad\":\"%0*d\"}",
                    MAX_PAYLOAD, 0);
    ck_assert_ptr_ne(send(text, (size_t)size, 0), NULL);
    teardown();
}
END_TEST

START_TEST(a_class_without_handler_is_unroutable)
{
    setup();
    ck_assert_ptr_eq(SEND("{\"class\":\"Other\"}"), NULL);
    ck_assert_int_eq(route.end, FTL__END_UNROUTABLE);
    teardown();
}
END_TEST

/* ---- the life of a slot ---------------------------------------------------------------------- */

static void *take_a_forbidden_edge(void *arg)
{
    struct ftl__slot *slot = arg;
    ftl__slot_set(slot, FTL__SLOT_PARKED);
    return NULL;
}

START_TEST(a_forbidden_edge_panics)
{
    struct ftl__slot slot = {.state = FTL__SLOT_CLAIMED};
    ftl__slot_set(&slot, FTL__SLOT_PARKED);
    ftl__slot_set(&slot, FTL__SLOT_RUNNING);
    fixture_start();
    ck_assert_int_eq(fixture_join(fixture_spawn(take_a_forbidden_edge, &slot)), FTL_PANICKED);
    fixture_stop();
    ck_assert_int_eq(slot.state, FTL__SLOT_RUNNING);
}
END_TEST

START_TEST(slots_come_back_clean)
{
    ftl__slots_init(&slots);
    ck_assert_int_eq(ftl__slots_reserve(&slots, 100), 0);
    size_t total = slots.total;
    struct ftl__slot *slot = ftl__slots_take(&slots);
    static char large[100000];
    ck_assert_int_eq(ftl__slot_set_bytes(slot, large, sizeof large), 0);
    slot->end = FTL__END_RETURNED;
    slot->timed_out = true;
    ftl__run_failed(&slot->run, "Error", "message", 7);
    ftl__slot_set(slot, FTL__SLOT_SETTLING);
    ftl__slots_give(&slots, slot);
    ck_assert_uint_eq(slots.free_count, total);
    struct ftl__slot *again = ftl__slots_take(&slots);
    ck_assert_ptr_eq(again, slot); /* the warmest first */
    ck_assert(!again->timed_out && again->run.bytes == NULL && again->room_size == 0);
    ck_assert_int_eq(again->run.verdict, FTL__VERDICT_NONE);
    ck_assert_ptr_eq(again->run.failure.error_class, NULL);
    ftl__slots_free(&slots);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, a_job_has_its_class_and_jid);
    UNIT_CASE(suite, wrapped_is_tried_before_class);
    UNIT_CASE(suite, attempts_count_failures_and_recoveries);
    UNIT_CASE(suite, what_is_no_job_stays_raw);
    UNIT_CASE(suite, what_nobody_can_run_is_refused);
    UNIT_CASE(suite, a_class_may_be_long_but_not_too_long);
    UNIT_CASE(suite, a_payload_may_grow_by_its_failures_only);
    UNIT_CASE(suite, a_class_without_handler_is_unroutable);
    UNIT_CASE(suite, a_forbidden_edge_panics);
    UNIT_CASE(suite, slots_come_back_clean);
}

UNIT_MAIN("route", add_cases)
