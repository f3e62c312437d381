/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/keys: the names as docs/design.md says, behind the prefix. */
#include "daemon/keys.h"

#include <string.h>

#include <fettle/error.h>

#include "tests/unit/unit.h"

static void assert_key(const struct ftl__key *key, const char *expected)
{
    ck_assert_str_eq(key->text, expected);
    ck_assert_uint_eq(key->size, strlen(expected));
}

START_TEST(without_a_prefix_the_names_are_the_layouts)
{
    struct ftl__keys *keys;
    struct ftl__key key;
    ck_assert_int_eq(ftl__keys_open("", &keys), 0);
    assert_key(&keys->queues, "queues");
    assert_key(&keys->stat_failed, "stat:failed");
    assert_key(&keys->owners, "fettle:owners");
    ftl__key_queue(keys, "default", &key);
    assert_key(&key, "queue:default");
    ftl__key_process(keys, "host:1:abc", "-signals", &key);
    assert_key(&key, "host:1:abc-signals");
    ftl__keys_close(keys);
}
END_TEST

START_TEST(every_name_begins_with_the_prefix)
{
    struct ftl__keys *keys;
    struct ftl__key key;
    ck_assert_int_eq(ftl__keys_open("{app}:", &keys), 0);
    assert_key(&keys->promoter, "{app}:fettle:promoter");
    ftl__key_front(keys, "a.b-c", &key);
    assert_key(&key, "{app}:fettle:front:a.b-c");
    ftl__key_batches(keys, "h:1:x", &key);
    assert_key(&key, "{app}:fettle:batches:h:1:x");
    ftl__key_batch(keys, "h:1:x", UINT64_MAX, &key);
    assert_key(&key, "{app}:fettle:batch:h:1:x:18446744073709551615");
    ftl__key_stat_day(&keys->stat_processed, "2026-01-02", &key);
    assert_key(&key, "{app}:stat:processed:2026-01-02");
    ftl__keys_close(keys);
}
END_TEST

START_TEST(the_longest_names_fit)
{
    char prefix[FTL__PREFIX_MAX + 2], id[FTL__ID_MAX + 1], queue[129];
    struct ftl__keys *keys;
    struct ftl__key key;
    memset(prefix, 'p', sizeof prefix);
    prefix[FTL__PREFIX_MAX] = '\0';
    memset(id, 'i', sizeof id);
    id[FTL__ID_MAX] = '\0';
    memset(queue, 'q', sizeof queue);
    queue[128] = '\0';
    ck_assert_int_eq(ftl__keys_open(prefix, &keys), 0);
    ftl__key_batch(keys, id, UINT64_MAX, &key);
    ck_assert_uint_eq(key.size, FTL__PREFIX_MAX + 13 + FTL__ID_MAX + 21);
    ftl__key_front(keys, queue, &key);
    ck_assert_uint_eq(key.size, FTL__PREFIX_MAX + 13 + 128);
    ftl__keys_close(keys);
}
END_TEST

START_TEST(a_prefix_that_is_too_long_is_refused)
{
    char prefix[FTL__PREFIX_MAX + 2];
    struct ftl__keys *keys;
    memset(prefix, 'p', sizeof prefix);
    prefix[FTL__PREFIX_MAX + 1] = '\0';
    ck_assert_int_eq(ftl__keys_open(prefix, &keys), FTL_ELIMIT);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, without_a_prefix_the_names_are_the_layouts);
    UNIT_CASE(suite, every_name_begins_with_the_prefix);
    UNIT_CASE(suite, the_longest_names_fit);
    UNIT_CASE(suite, a_prefix_that_is_too_long_is_refused);
}

UNIT_MAIN("keys", add_cases)
