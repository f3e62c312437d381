/* SPDX-License-Identifier: MIT
 *
 * Which handler takes a class, and how long handlers live. */
#include <stdio.h>
#include <string.h>

#include "jobs/registry.h"
#include "tests/unit/oom.h"
#include "tests/unit/unit.h"

/* A handler that remembers what was asked of it. */
struct fake {
    struct ftl__handler base;
    const char *only; /* the one class it serves, or NULL for all */
    int asked;        /* times that serves() was called */
    bool destroyed;
};

static void fake_destroy(struct ftl__handler *handler)
{
    struct fake *fake = (struct fake *)(void *)handler;
    ck_assert(!fake->destroyed);
    fake->destroyed = true;
}

static bool fake_serves(const struct ftl__handler *handler, const char *class, size_t size)
{
    struct fake *fake = (struct fake *)(void *)(uintptr_t)handler;
    fake->asked++;
    return fake->only == NULL ||
           (strlen(fake->only) == size && memcmp(fake->only, class, size) == 0);
}

static const struct ftl__handler_kind all_kind = {.name = "all", .destroy = fake_destroy};
static const struct ftl__handler_kind choosy_kind = {
    .name = "choosy", .serves = fake_serves, .destroy = fake_destroy};

static struct fake make(char *pattern, const struct ftl__handler_kind *kind)
{
    struct fake fake = {.base = {.kind = kind, .refs = 1, .pattern = pattern}};
    fake.base.exact = strpbrk(pattern, "*?[\\") == NULL;
    return fake;
}

static struct ftl__registry *registry_of(struct fake *fakes, size_t count)
{
    struct ftl__registry *registry = ftl__registry_new();
    ck_assert_ptr_nonnull(registry);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(ftl__registry_add(registry, &fakes[i].base), 0);
    return registry;
}

static struct ftl__handler *find(struct ftl__registry *registry, const char *class)
{
    return ftl__registry_find(registry, class, strlen(class));
}

START_TEST(first_match_wins)
{
    struct fake fakes[] = {make((char[]){"Hello"}, &all_kind), make((char[]){"Mail::*"}, &all_kind),
                           make((char[]){"H?llo"}, &all_kind), make((char[]){"[A-C]*"}, &all_kind)};
    struct ftl__registry *registry = registry_of(fakes, 4);
    for (int round = 0; round < 2; round++) { /* the second out of the cache */
        ck_assert_ptr_eq(find(registry, "Hello"), &fakes[0].base);
        ck_assert_ptr_eq(find(registry, "Hallo"), &fakes[2].base);
        ck_assert_ptr_eq(find(registry, "Mail::Welcome"), &fakes[1].base);
        ck_assert_ptr_eq(find(registry, "Beta"), &fakes[3].base);
        ck_assert_ptr_null(find(registry, "hello"));
        ck_assert_ptr_null(find(registry, "Hello2"));
        ck_assert_ptr_null(find(registry, "Hell"));
        ck_assert_ptr_null(find(registry, ""));
    }
    ftl__registry_free(registry);
}
END_TEST

START_TEST(asks_the_handler_once_per_class)
{
    struct fake fakes[] = {make((char[]){"*"}, &choosy_kind), make((char[]){"*"}, &all_kind)};
    fakes[0].only = "Mine";
    struct ftl__registry *registry = registry_of(fakes, 2);
    for (int i = 0; i < 5; i++) {
        ck_assert_ptr_eq(find(registry, "Mine"), &fakes[0].base);
        ck_assert_ptr_eq(find(registry, "Other"), &fakes[1].base);
    }
    ck_assert_int_eq(fakes[0].asked, 2);
    ftl__registry_free(registry);
}
END_TEST

START_TEST(remembers_that_nobody_takes_a_class)
{
    struct fake fakes[] = {make((char[]){"*"}, &choosy_kind), make((char[]){"New"}, &all_kind)};
    fakes[0].only = "Mine";
    struct ftl__registry *registry = registry_of(fakes, 1);
    for (int i = 0; i < 5; i++)
        ck_assert_ptr_null(find(registry, "New"));
    ck_assert_int_eq(fakes[0].asked, 1);
    ck_assert_int_eq(ftl__registry_add(registry, &fakes[1].base), 0);
    ck_assert_ptr_eq(find(registry, "New"), &fakes[1].base);
    ftl__registry_free(registry);
}
END_TEST

START_TEST(more_classes_than_the_cache_holds)
{
    struct fake fakes[] = {make((char[]){"*7"}, &all_kind), make((char[]){"*"}, &all_kind)};
    struct ftl__registry *registry = registry_of(fakes, 2);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 5000; i++) {
            char class[32];
            (void)snprintf(class, sizeof(class), "Class%d", i);
            ck_assert_ptr_eq(find(registry, class), &fakes[i % 10 == 7 ? 0 : 1].base);
        }
    ftl__registry_free(registry);
}
END_TEST

START_TEST(classes_that_are_no_names)
{
    struct fake fakes[] = {make((char[]){"*"}, &all_kind)};
    struct ftl__registry *registry = registry_of(fakes, 1);
    char class[FTL__CLASS_MAX + 1];
    memset(class, 'x', sizeof(class));
    ck_assert_ptr_eq(ftl__registry_find(registry, class, FTL__CLASS_MAX), &fakes[0].base);
    ck_assert_ptr_null(ftl__registry_find(registry, class, FTL__CLASS_MAX + 1));
    ck_assert_ptr_null(ftl__registry_find(registry, "a\0b", 3));
    ck_assert_ptr_eq(ftl__registry_find(registry, "not NUL-terminated", 3), &fakes[0].base);
    ftl__registry_free(registry);
}
END_TEST

START_TEST(lists_in_order)
{
    struct fake fakes[20];
    for (size_t i = 0; i < 20; i++)
        fakes[i] = make((char[]){"*"}, &all_kind);
    struct ftl__registry *registry = registry_of(fakes, 20);
    ck_assert_uint_eq(ftl__registry_count(registry), 20);
    for (size_t i = 0; i < 20; i++)
        ck_assert_ptr_eq(ftl__registry_at(registry, i), &fakes[i].base);
    ftl__registry_free(registry);
}
END_TEST

START_TEST(handlers_outlive_the_registry_while_used)
{
    struct fake fakes[] = {make((char[]){"*"}, &all_kind), make((char[]){"*"}, &all_kind)};
    struct ftl__registry *registry = registry_of(fakes, 2);
    struct ftl__handler *kept = ftl__handler_ref(find(registry, "A"));
    ftl__registry_free(registry);
    ck_assert(!fakes[0].destroyed);
    ck_assert(fakes[1].destroyed);
    ftl__handler_unref(kept);
    ck_assert(fakes[0].destroyed);
    ftl__handler_unref(NULL);
    ftl__registry_free(NULL);
}
END_TEST

#if OOM_POSSIBLE
START_TEST(lack_of_memory)
{
    struct fake fakes[] = {make((char[]){"*"}, &choosy_kind)};
    oom_after = 0;
    ck_assert_ptr_null(ftl__registry_new());
    struct ftl__registry *registry = ftl__registry_new();
    oom_after = 0;
    ck_assert_int_eq(ftl__registry_add(registry, &fakes[0].base), FTL_ENOMEM);
    ck_assert_uint_eq(ftl__registry_count(registry), 0);
    ck_assert_int_eq(fakes[0].base.refs, 1); /* still the caller's */
    ck_assert_int_eq(ftl__registry_add(registry, &fakes[0].base), 0);
    oom_after = 0; /* not remembered, but found */
    ck_assert_ptr_eq(find(registry, "A"), &fakes[0].base);
    oom_after = -1;
    ck_assert_ptr_eq(find(registry, "A"), &fakes[0].base);
    ck_assert_ptr_eq(find(registry, "A"), &fakes[0].base);
    ck_assert_int_eq(fakes[0].asked, 2);
    ftl__registry_free(registry);
}
END_TEST
#endif

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, first_match_wins);
    UNIT_CASE(suite, asks_the_handler_once_per_class);
    UNIT_CASE(suite, remembers_that_nobody_takes_a_class);
    UNIT_CASE(suite, more_classes_than_the_cache_holds);
    UNIT_CASE(suite, classes_that_are_no_names);
    UNIT_CASE(suite, lists_in_order);
    UNIT_CASE(suite, handlers_outlive_the_registry_while_used);
#if OOM_POSSIBLE
    UNIT_CASE(suite, lack_of_memory);
#endif
}

UNIT_MAIN("registry", add_cases)
