/* SPDX-License-Identifier: MIT
 *
 * URLs in their parts, and the words for those that are none. */
#include <string.h>

#include "jobs/url.h"
#include "tests/unit/oom.h"
#include "tests/unit/unit.h"

static struct ftl__url *parse(const char *text)
{
    struct ftl__url *url = NULL;
    const char *reason = "";
    /* In memory of its own exact size, so that a sanitizer sees a byte read too far. */
    char *copy = strdup(text);
    ck_assert_ptr_nonnull(copy);
    int rc = ftl__url_parse(copy, &url, &reason);
    free(copy);
    ck_assert_msg(rc == 0, "%s: %s", text, reason);
    return url;
}

static void assert_text(const char *text, const char *expected)
{
    ck_assert_int_eq(text == NULL, expected == NULL);
    if (expected != NULL)
        ck_assert_str_eq(text, expected);
}

static void assert_parts(const char *text, const char *scheme, const char *user,
                         const char *password, const char *host, uint16_t port, const char *path)
{
    struct ftl__url *url = parse(text);
    assert_text(url->scheme, scheme);
    assert_text(url->user, user);
    assert_text(url->password, password);
    assert_text(url->host, host);
    ck_assert_uint_eq(url->port, port);
    assert_text(url->path, path);
    ftl__url_free(url);
}

static void assert_refused(const char *text, const char *expected)
{
    struct ftl__url *url = NULL;
    const char *reason = NULL;
    char *copy = strdup(text);
    ck_assert_ptr_nonnull(copy);
    ck_assert_int_eq(ftl__url_parse(copy, &url, &reason), FTL_EINVAL);
    free(copy);
    ck_assert_msg(strcmp(reason, expected) == 0, "%s: %s", text, reason);
    ck_assert_ptr_null(url);
}

START_TEST(addresses_of_redis)
{
    assert_parts("redis://127.0.0.1:6379/0", "redis", NULL, NULL, "127.0.0.1", 6379, "/0");
    assert_parts("redis://localhost", "redis", NULL, NULL, "localhost", 0, "");
    assert_parts("redis://localhost/", "redis", NULL, NULL, "localhost", 0, "/");
    assert_parts("redis://:secret@h", "redis", NULL, "secret", "h", 0, "");
    assert_parts("redis://me:secret@h:1", "redis", "me", "secret", "h", 1, "");
    assert_parts("redis://me@h:65535", "redis", "me", NULL, "h", 65535, "");
    assert_parts("redis://me:@h", "redis", "me", "", "h", 0, "");
    assert_parts("REDIS+tls-1.2://h", "redis+tls-1.2", NULL, NULL, "h", 0, "");
    assert_parts("unix:///run/redis.sock", "unix", NULL, NULL, NULL, 0, "/run/redis.sock");
    assert_parts("unix://me:pw@/run/r.sock", "unix", "me", "pw", NULL, 0, "/run/r.sock");
    assert_parts("unix://run/r.sock", "unix", NULL, NULL, "run", 0, "/r.sock");
    assert_parts("redis://", "redis", NULL, NULL, NULL, 0, "");
}
END_TEST

START_TEST(ipv6)
{
    assert_parts("redis://[::1]:6380/2", "redis", NULL, NULL, "::1", 6380, "/2");
    assert_parts("redis://u:p@[fe80::1:2]", "redis", "u", "p", "fe80::1:2", 0, "");
    assert_parts("redis://[::ffff:1.2.3.4]/", "redis", NULL, NULL, "::ffff:1.2.3.4", 0, "/");
    assert_refused("redis://[::1", "expected [IPv6 address]");
    assert_refused("redis://[]", "expected [IPv6 address]");
    assert_refused("redis://[host]", "expected [IPv6 address]");
    assert_refused("redis://[::1]6379", "expected ':' or '/' after ']'");
}
END_TEST

START_TEST(escapes)
{
    assert_parts("redis://a%40b:p%3A%2F%23%3f%25@h/%7Ex", "redis", "a@b", "p:/#?%", "h", 0, "/~x");
    assert_parts("redis://u:p@ss@h", "redis", "u", "p@ss", "h", 0, "");
    assert_parts("redis://u:p:w@h", "redis", "u", "p:w", "h", 0, "");
    assert_parts("unix:///a%20b+c", "unix", NULL, NULL, NULL, 0, "/a b+c");
    assert_refused("redis://u:100%@h", "'%' must be followed by two hexadecimal digits");
    assert_refused("redis://h/%4", "'%' must be followed by two hexadecimal digits");
    assert_refused("redis://h/%4g", "'%' must be followed by two hexadecimal digits");
    assert_refused("redis://h/%", "'%' must be followed by two hexadecimal digits");
    assert_refused("redis://h/?a=%zz", "'%' must be followed by two hexadecimal digits");
    assert_refused("redis://h/%00", "%00 is not allowed");
}
END_TEST

START_TEST(queries)
{
    struct ftl__url *url = parse("unix:///s?db=3&a%26b=c%3Dd=e&&flag&=x&db=4");
    ck_assert_str_eq(url->path, "/s");
    ck_assert_uint_eq(url->query_count, 5);
    ck_assert_str_eq(url->query[1].name, "a&b");
    ck_assert_str_eq(url->query[1].value, "c=d=e");
    ck_assert_str_eq(url->query[2].name, "flag");
    ck_assert_str_eq(url->query[2].value, "");
    ck_assert_str_eq(url->query[3].name, "");
    ck_assert_str_eq(ftl__url_query(url, "db"), "3");
    ck_assert_ptr_null(ftl__url_query(url, "d"));
    ftl__url_free(url);
    url = parse("redis://h?x=a?b/c");
    ck_assert_str_eq(url->host, "h");
    ck_assert_str_eq(url->path, "");
    ck_assert_str_eq(ftl__url_query(url, "x"), "a?b/c");
    ftl__url_free(url);
    url = parse("redis://h/?");
    ck_assert_uint_eq(url->query_count, 0);
    ftl__url_free(url);
}
END_TEST

START_TEST(ports)
{
    static const char reason[] = "the port must be a number from 1 to 65535";
    assert_refused("redis://h:", reason);
    assert_refused("redis://h:0", reason);
    assert_refused("redis://h:65536", reason);
    assert_refused("redis://h:99999999999999999999", reason);
    assert_refused("redis://h:6379x/0", reason);
    assert_refused("redis://h:-1", reason);
    assert_refused("redis://::1", reason);
}
END_TEST

START_TEST(what_is_no_url)
{
    assert_refused("", "expected SCHEME://");
    assert_refused("localhost:6379", "expected SCHEME://");
    assert_refused("/run/redis.sock", "expected SCHEME://");
    assert_refused("redis:/x", "expected SCHEME://");
    assert_refused("redis", "expected SCHEME://");
    assert_refused("://x", "expected SCHEME://");
    assert_refused("1redis://x", "expected SCHEME://");
    assert_refused("re_dis://x", "expected SCHEME://");
    assert_refused("redis://h /0", "blanks and control characters must be written as %XX");
    assert_refused("redis://h\n", "blanks and control characters must be written as %XX");
    assert_refused("redis://u:p#w@h", "'#' must be written as %23");
}
END_TEST

#if OOM_POSSIBLE
START_TEST(lack_of_memory)
{
    struct ftl__url *url = NULL;
    const char *reason = NULL;
    oom_after = 0;
    ck_assert_int_eq(ftl__url_parse("redis://h", &url, &reason), FTL_ENOMEM);
    ck_assert_ptr_null(url);
    ck_assert_str_eq(reason, "out of memory");
}
END_TEST
#endif

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, addresses_of_redis);
    UNIT_CASE(suite, ipv6);
    UNIT_CASE(suite, escapes);
    UNIT_CASE(suite, queries);
    UNIT_CASE(suite, ports);
    UNIT_CASE(suite, what_is_no_url);
#if OOM_POSSIBLE
    UNIT_CASE(suite, lack_of_memory);
#endif
    ftl__url_free(NULL);
}

UNIT_MAIN("url", add_cases)
