/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/link: against a real redis-server, and against a server that talks nonsense. */
#include "daemon/link.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fettle/time.h>

#include "tests/unit/redis.h"
#include "tests/unit/unit.h"

#define SOON (60 * FTL_S)

static struct unit_redis redis;

/* The link under test and what its listener was told. */
static struct ftl__link *link_;
static int ups, downs, refused_ups;
static char down_reason[200];

static int on_up(void *arg, struct ftl__link *link)
{
    (void)arg;
    struct redisReply *reply;
    if (ftl__link_callf(link, ftl_deadline(SOON), &reply, "PING") != 0)
        return 1;
    ftl__reply_free(reply);
    ups++;
    return ups <= refused_ups;
}

static void on_down(void *arg, const char *reason)
{
    (void)arg;
    downs++;
    snprintf(down_reason, sizeof down_reason, "%s", reason);
}

static void open_link_to(const struct ftl__address *address)
{
    struct ftl__link_options options = {.runtime = redis.control,
                                        .address = address,
                                        .name = "test",
                                        .on_up = on_up,
                                        .on_down = on_down};
    ftl_assert(ftl__link_open(&options, &link_) == 0);
}

static void open_link(void)
{
    open_link_to(&redis.address);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
}

static void close_link(void)
{
    ftl__link_close(link_);
    link_ = NULL;
}

static void begin(struct ftl__call *call, const char *a, const char *b)
{
    const char *argv[2] = {a, b};
    size_t argvlen[2] = {strlen(a), strlen(b)};
    struct ftl__command command = {2, argv, argvlen};
    ftl_assert(ftl__link_begin(link_, call, &command, ftl_deadline(SOON)) == 0);
}

static long long wait_integer(struct ftl__call *call)
{
    struct redisReply *reply;
    ftl_assert(ftl__link_wait(call, &reply) == 0);
    ftl_assert(reply->type == REDIS_REPLY_INTEGER);
    long long value = reply->integer;
    ftl__reply_free(reply);
    return value;
}

/* ---- the tests' bodies: tasks of control -------------------------------------------------- */

static void *pipelines(void *arg)
{
    enum { COUNT = 3000 };
    (void)arg;
    open_link();
    ftl_assert(ftl__link_is_up(link_) && ups == 1);
    struct ftl__call *calls = calloc(COUNT, sizeof *calls);
    for (int i = 0; i < COUNT; i++)
        begin(&calls[i], "INCR", "n");
    for (int i = 0; i < COUNT; i++)
        ftl_assert(wait_integer(&calls[i]) == i + 1);
    free(calls);
    close_link();
    return NULL;
}

START_TEST(pipelined_calls_are_answered_in_order)
{
    unit_on_control(&redis, pipelines, NULL);
}
END_TEST

static void *large(void *arg)
{
    size_t size = 8 << 20;
    char *value = malloc(size);
    struct redisReply *reply;
    (void)arg;
    open_link();
    for (size_t i = 0; i < size; i++)
        value[i] = (char)(i * 7 + i / 256);
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "SET %b %b", "k\0\r\n", (size_t)4,
                               value, size) == 0);
    ftl__reply_free(reply);
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "GET %b", "k\0\r\n", (size_t)4) ==
               0);
    ftl_assert(reply->type == REDIS_REPLY_STRING && reply->len == size);
    ftl_assert(memcmp(reply->str, value, size) == 0);
    ftl__reply_free(reply);
    free(value);
    close_link();
    return NULL;
}

START_TEST(large_and_binary_values_come_through)
{
    unit_on_control(&redis, large, NULL);
}
END_TEST

static void *error_reply(void *arg)
{
    struct redisReply *reply;
    (void)arg;
    open_link();
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "NOSUCHCOMMAND") == 0);
    ftl_assert(reply->type == REDIS_REPLY_ERROR);
    ftl__reply_free(reply);
    ftl_assert(ftl__link_is_up(link_));
    close_link();
    return NULL;
}

START_TEST(an_error_reply_is_a_reply)
{
    unit_on_control(&redis, error_reply, NULL);
}
END_TEST

static void *times_out(void *arg)
{
    struct ftl__call blocked, behind;
    struct redisReply *reply;
    const char *argv[3] = {"BLPOP", "nothing", "0"};
    size_t argvlen[3] = {5, 7, 1};
    (void)arg;
    open_link();
    int64_t began = ftl_now();
    ftl_assert(ftl__link_begin(link_, &blocked, &(struct ftl__command){3, argv, argvlen},
                               began + 100 * FTL_MS) == 0);
    begin(&behind, "INCR", "n");
    ftl_assert(ftl__link_wait(&blocked, &reply) == FTL_ETIMEDOUT);
    ftl_assert(ftl_now() - began >= 100 * FTL_MS);
    ftl_assert(!ftl__link_is_up(link_));
    ftl_assert(ftl__link_wait(&behind, &reply) == FTL_ECONN);
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "PING") == FTL_ECONN);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(downs == 1 && ups == 2 && ftl__link_epoch(link_) == 2);
    ftl_assert(strstr(down_reason, "deadline") != NULL);
    close_link();
    return NULL;
}

START_TEST(a_deadline_that_passes_breaks_the_connection)
{
    unit_on_control(&redis, times_out, NULL);
}
END_TEST

static void *cancels(void *arg)
{
    struct ftl__call calls[3];
    (void)arg;
    open_link();
    for (int i = 0; i < 3; i++)
        begin(&calls[i], "INCR", "n");
    ftl__link_cancel(&calls[0]);
    ftl_assert(wait_integer(&calls[1]) == 2);
    ftl_assert(wait_integer(&calls[2]) == 3);
    begin(&calls[0], "INCR", "n"); /* answered, then given up */
    begin(&calls[1], "INCR", "n");
    ftl_assert(wait_integer(&calls[1]) == 5);
    ftl__link_cancel(&calls[0]);
    close_link();
    return NULL;
}

START_TEST(the_reply_of_a_cancelled_call_is_dropped)
{
    unit_on_control(&redis, cancels, NULL);
}
END_TEST

static void *wait_for_nothing(void *arg)
{
    struct redisReply *reply;
    (void)arg;
    (void)ftl__link_callf(link_, FTL_FOREVER, &reply, "BLPOP nothing 0");
    return NULL;
}

static void *aborts(void *arg)
{
    struct ftl_task *task;
    struct ftl_outcome outcome;
    struct ftl__call call;
    (void)arg;
    open_link();
    ftl_assert(ftl_spawn(redis.control, wait_for_nothing, NULL, NULL, &task) == 0);
    ftl_assert(ftl_yield() == 0 && ftl_sleep(20 * FTL_MS) == 0);
    ftl_abort(task, 0);
    ftl_assert(ftl_task_join(task, ftl_deadline(SOON), &outcome) == 0);
    ftl_assert(outcome.kind == FTL_CANCELLED);
    freeReplyObject(unit_redis_call(&redis, "LPUSH nothing x")); /* which answers it */
    begin(&call, "INCR", "n"); /* answered behind what was given up */
    ftl_assert(wait_integer(&call) == 1);
    ftl_assert(downs == 0);
    close_link();
    return NULL;
}

START_TEST(an_aborted_task_leaves_its_call_behind)
{
    unit_on_control(&redis, aborts, NULL);
}
END_TEST

static void *refuses_ups(void *arg)
{
    (void)arg;
    refused_ups = 2;
    open_link();
    ftl_assert(ups == 3 && downs == 2 && ftl__link_epoch(link_) == 1);
    close_link();
    return NULL;
}

START_TEST(it_is_not_up_before_the_listener_agrees)
{
    unit_on_control(&redis, refuses_ups, NULL);
}
END_TEST

/* ---- with a server that goes away: the test's thread acts, tasks watch --------------------- */

static void *open_only(void *arg)
{
    (void)arg;
    open_link_to(&redis.address);
    return NULL;
}

static void *close_only(void *arg)
{
    (void)arg;
    close_link();
    return NULL;
}

static void *await_up(void *arg)
{
    (void)arg;
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    return NULL;
}

static void *await_loss(void *arg)
{
    struct redisReply *reply;
    (void)arg;
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "BLPOP nothing 0") == FTL_ECONN);
    return NULL;
}

START_TEST(it_comes_back_with_the_server)
{
    struct ftl_task *task;
    struct ftl_outcome outcome;
    unit_on_control(&redis, open_only, NULL);
    unit_on_control(&redis, await_up, NULL);
    ck_assert_int_eq(ftl_spawn(redis.control, await_loss, NULL, NULL, &task), 0);
    unit_redis_await_text(&redis, "blocked_clients:1", "INFO clients");
    unit_redis_kill(&redis);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    unit_redis_start(&redis, NULL);
    int64_t back = ftl_now();
    unit_on_control(&redis, await_up, NULL);
    ck_assert_int_lt(ftl_now() - back, unit_limit(2 * FTL_S));
    ck_assert_int_ge(downs, 1);
    ck_assert_int_eq(ups, 2);
    unit_on_control(&redis, close_only, NULL);
}
END_TEST

START_TEST(it_waits_for_a_server_that_is_not_there_yet)
{
    unit_redis_kill(&redis);
    unit_on_control(&redis, open_only, NULL);
    unit_redis_start(&redis, NULL);
    unit_on_control(&redis, await_up, NULL);
    ck_assert_int_eq(ups, 1);
    unit_on_control(&redis, close_only, NULL);
}
END_TEST

START_TEST(it_closes_while_it_tries_to_connect)
{
    unit_redis_kill(&redis);
    unit_on_control(&redis, open_only, NULL);
    int64_t began = ftl_now();
    unit_on_control(&redis, close_only, NULL);
    ck_assert_int_lt(ftl_now() - began, unit_limit(FTL_S));
}
END_TEST

/* ---- greeting ----------------------------------------------------------------------------- */

static char *user_, *password_;

static void *greets(void *arg)
{
    struct redisReply *reply;
    struct ftl__address address = redis.address;
    (void)arg;
    address.user = user_;
    address.password = password_;
    address.db = 3;
    open_link_to(&address);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "CLIENT LIST") == 0);
    ftl_assert(strstr(reply->str, "name=fettled:test") != NULL);
    ftl_assert(strstr(reply->str, "db=3") != NULL);
    ftl__reply_free(reply);
    close_link();
    return NULL;
}

START_TEST(it_authenticates_and_selects)
{
    static char password[] = "pass word", user[] = "worker";
    freeReplyObject(unit_redis_call(&redis, "CONFIG SET requirepass %s", password));
    freeReplyObject(unit_redis_call(&redis, "ACL SETUSER worker on >%s ~* &* +@all", password));
    password_ = password;
    unit_on_control(&redis, greets, NULL);
    user_ = user;
    ups = 0;
    unit_on_control(&redis, greets, NULL);
}
END_TEST

static void *stays_out(void *arg)
{
    struct ftl__address address = redis.address;
    static char wrong[] = "wrong";
    (void)arg;
    address.password = wrong;
    open_link_to(&address);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(300 * FTL_MS)) == FTL_ETIMEDOUT);
    ftl_assert(ups == 0);
    close_link();
    return NULL;
}

START_TEST(a_wrong_password_keeps_it_down)
{
    freeReplyObject(unit_redis_call(&redis, "CONFIG SET requirepass secret"));
    unit_on_control(&redis, stays_out, NULL);
}
END_TEST

/* ---- a server of our own on TCP: polite twice (PING, CLIENT SETNAME), then `nonsense` ------- */

struct fake {
    int listener;
    pthread_t thread;
    const char *nonsense; /* NULL: hangs up */
};

static void serve(const struct fake *fake, int fd)
{
    char buffer[4096];
    /* PING and SETNAME of the greeting, and the PING of on_up, one by one. */
    for (int i = 0; i < 3; i++)
        if (read(fd, buffer, sizeof buffer) <= 0 || write(fd, "+OK\r\n", 5) != 5)
            return;
    if (read(fd, buffer, sizeof buffer) <= 0 || fake->nonsense == NULL)
        return;
    if (write(fd, fake->nonsense, strlen(fake->nonsense)) > 0)
        while (read(fd, buffer, sizeof buffer) > 0)
            continue;
}

static void *fake_main(void *arg)
{
    struct fake *fake = arg;
    int fd;
    while ((fd = accept(fake->listener, NULL, NULL)) >= 0) {
        serve(fake, fd);
        close(fd);
    }
    return NULL;
}

static uint16_t fake_start(struct fake *fake)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fake->listener, 0);
    ck_assert_int_eq(bind(fake->listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fake->listener, 8), 0);
    ck_assert_int_eq(getsockname(fake->listener, (struct sockaddr *)&at, &size), 0);
    ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
    return ntohs(at.sin_port);
}

static void fake_stop(struct fake *fake)
{
    shutdown(fake->listener, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    close(fake->listener);
}

static void *meets_nonsense(void *arg)
{
    struct ftl__address *address = arg;
    struct redisReply *reply;
    open_link_to(address);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "GET x") == FTL_ECONN);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(downs == 1 && ftl__link_epoch(link_) == 2);
    close_link();
    return NULL;
}

static void meet(const char *nonsense, const char *host, void *(*body)(void *address))
{
    static char shown[] = "fake";
    struct fake fake = {.nonsense = nonsense};
    struct ftl__address address = {.shown = shown};
    char name[32];
    snprintf(name, sizeof name, "%s", host);
    address.host = name;
    address.port = fake_start(&fake);
    unit_on_control(&redis, body, &address);
    fake_stop(&fake);
}

START_TEST(nonsense_breaks_the_connection)
{
    meet("SSH-2.0-OpenSSH\r\n", "127.0.0.1", meets_nonsense);
}
END_TEST

START_TEST(a_huge_array_breaks_the_connection)
{
    meet("*2147483647\r\n", "127.0.0.1", meets_nonsense);
}
END_TEST

START_TEST(an_end_of_file_breaks_the_connection)
{
    meet(NULL, "127.0.0.1", meets_nonsense);
}
END_TEST

static void *meets_replica(void *arg)
{
    struct ftl__address *address = arg;
    struct redisReply *reply;
    open_link_to(address);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "EVALSHA x") == 0);
    ftl_assert(reply->type == REDIS_REPLY_ERROR);
    ftl__reply_free(reply);
    ftl_assert(!ftl__link_is_up(link_));
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(strstr(down_reason, "is a replica") != NULL);
    close_link();
    return NULL;
}

START_TEST(a_replica_is_left_whatever_the_words)
{
    /* Of Redis 7, and of Redis 6.2 for a command of a script. */
    static const char *const texts[] = {
        "-READONLY You can't write against a read only replica.\r\n",
        "-ERR Error running script (call to f_a1b2): @user_script:45: @user_script: 45: "
        "-READONLY You can't write against a read only replica.\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ups = downs = 0;
        meet(texts[i], "127.0.0.1", meets_replica);
    }
}
END_TEST

START_TEST(names_are_resolved)
{
    struct addrinfo *found;
    if (getaddrinfo("localhost", NULL, NULL, &found) != 0)
        return; /* a bare root without /etc/hosts has no name to resolve */
    freeaddrinfo(found);
    meet(NULL, "localhost", meets_nonsense);
}
END_TEST

static void set_up(void)
{
    unit_redis_open(&redis, NULL);
    ups = downs = refused_ups = 0;
    user_ = password_ = NULL;
}

static void tear_down(void)
{
    unit_redis_close(&redis);
}

static void add(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}
#define CASE(suite, test) add((suite), #test, (test))

static void add_cases(Suite *suite)
{
    unit_redis_require();
    CASE(suite, pipelined_calls_are_answered_in_order);
    CASE(suite, large_and_binary_values_come_through);
    CASE(suite, an_error_reply_is_a_reply);
    CASE(suite, a_deadline_that_passes_breaks_the_connection);
    CASE(suite, the_reply_of_a_cancelled_call_is_dropped);
    CASE(suite, an_aborted_task_leaves_its_call_behind);
    CASE(suite, it_is_not_up_before_the_listener_agrees);
    CASE(suite, it_comes_back_with_the_server);
    CASE(suite, it_waits_for_a_server_that_is_not_there_yet);
    CASE(suite, it_closes_while_it_tries_to_connect);
    CASE(suite, it_authenticates_and_selects);
    CASE(suite, a_wrong_password_keeps_it_down);
    CASE(suite, nonsense_breaks_the_connection);
    CASE(suite, a_huge_array_breaks_the_connection);
    CASE(suite, an_end_of_file_breaks_the_connection);
    CASE(suite, a_replica_is_left_whatever_the_words);
    CASE(suite, names_are_resolved);
}

UNIT_MAIN("link", add_cases)
