/* SPDX-License-Identifier: MIT
 *
 * jobs/http, transfer and transfers: that nothing of a request is left however its run ends. What
 * answers mean is in tests/system/test_http.py. The server here accepts and answers a request of
 * "/ok", and never one of anything else. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/run_fixture.h"

static const char job_text[] = "{\"class\":\"Hook\",\"args\":[],\"jid\":\"abc\"}";
static char error[512];

/* ---- a name that nobody knows for a while --------------------------------------------------- */

static pthread_mutex_t name_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t name_change = PTHREAD_COND_INITIALIZER;
static bool name_hangs;
static unsigned name_waiting, name_left;

/* In the place of libc's, for libcurl. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    (void)node, (void)service, (void)hints, (void)ret;
    pthread_mutex_lock(&name_lock);
    name_waiting++;
    pthread_cond_broadcast(&name_change);
    while (name_hangs)
        pthread_cond_wait(&name_change, &name_lock);
    name_left++;
    pthread_cond_broadcast(&name_change);
    pthread_mutex_unlock(&name_lock);
    return EAI_AGAIN;
}

static void name_set(bool hangs)
{
    pthread_mutex_lock(&name_lock);
    name_hangs = hangs;
    pthread_cond_broadcast(&name_change);
    pthread_mutex_unlock(&name_lock);
}

static void name_await(const unsigned *counter, unsigned least)
{
    pthread_mutex_lock(&name_lock);
    while (*counter < least)
        pthread_cond_wait(&name_change, &name_lock);
    pthread_mutex_unlock(&name_lock);
}

/* ---- the server ----------------------------------------------------------------------------- */

enum { CLIENTS = 256 };

static struct {
    int listener;
    uint16_t port;
    pthread_t thread;
    atomic_uint asked, open;
    atomic_bool stop;
    struct pollfd polled[CLIENTS + 1];
    unsigned count;
} server;

static void serve(unsigned i)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    char text[4096];
    ssize_t size = read(server.polled[i].fd, text, sizeof(text) - 1);
    if (size <= 0) {
        close(server.polled[i].fd);
        server.polled[i] = server.polled[--server.count];
        atomic_fetch_sub(&server.open, 1);
        return;
    }
    text[size] = '\0';
    atomic_fetch_add(&server.asked, 1);
    if (strstr(text, "POST /ok") != NULL)
        (void)!write(server.polled[i].fd, ok, sizeof(ok) - 1);
}

static void accept_client(void)
{
    int fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (server.count > CLIENTS) {
        close(fd);
        return;
    }
    atomic_fetch_add(&server.open, 1);
    server.polled[server.count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void *server_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&server.stop)) {
        if (poll(server.polled, server.count, 20) <= 0)
            continue;
        for (unsigned i = server.count; i-- > 1;)
            if (server.polled[i].revents != 0)
                serve(i);
        if (server.polled[0].revents != 0)
            accept_client();
    }
    return NULL;
}

static void server_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(server.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(server.listener, 256), 0);
    ck_assert_int_eq(getsockname(server.listener, (struct sockaddr *)&address, &size), 0);
    server.port = ntohs(address.sin_port);
    server.polled[0] = (struct pollfd){.fd = server.listener, .events = POLLIN};
    server.count = 1;
    atomic_store(&server.stop, false);
    atomic_store(&server.asked, 0);
    ck_assert_int_eq(pthread_create(&server.thread, NULL, server_main, NULL), 0);
}

static void server_stop(void)
{
    atomic_store(&server.stop, true);
    ck_assert_int_eq(pthread_join(server.thread, NULL), 0);
    for (unsigned i = 0; i < server.count; i++)
        close(server.polled[i].fd);
    atomic_store(&server.open, 0);
}

/* For what the server's thread counts. */
static void await(const atomic_uint *counter, unsigned least, unsigned most)
{
    int64_t deadline = ftl_deadline(60 * FTL_S);
    unsigned value;
    while ((value = atomic_load(counter)) < least || value > most) {
        ck_assert_msg(ftl_now() < deadline, "counted %u", value);
        usleep(1000);
    }
}

/* ---- runs ----------------------------------------------------------------------------------- */

static struct ftl__handler *make(const char *url)
{
    const struct ftl__handler_settings settings = {.pattern = "Hook"};
    const struct ftl__http_settings http = {
        .url = url, .verify = true, .connect_timeout = 30, .max_response = 1 << 20};
    struct ftl__handler *handler = NULL;
    ck_assert_msg(ftl__http_new(&settings, &http, &handler, error, sizeof(error)) == 0, "%s",
                  error);
    return handler;
}

static struct ftl__handler *make_path(const char *path)
{
    char url[128];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/%s", server.port, path);
    return make(url);
}

static struct ftl_task *spawn(struct ftl_run *run)
{
    const struct ftl_spawn_options options = {.migratable = true};
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(fixture_runtime, ftl__run_main, run, &options, &task), 0);
    return task;
}

static void expect_failure(const struct ftl_run *run, const char *error_class)
{
    ck_assert_int_eq(run->verdict, FTL__VERDICT_FAILED);
    ck_assert_str_eq(run->failure.error_class, error_class);
}

/* ---- tests ---------------------------------------------------------------------------------- */

START_TEST(a_name_that_hangs_blocks_nobody)
{
    struct ftl_run hanging, other;
    server_start();
    name_set(true);
    run_fill(&hanging, job_text, make("http://name.invalid/"));
    struct ftl_task *task = spawn(&hanging);
    name_await(&name_waiting, 1);
    run_fill(&other, job_text, make_path("ok"));
    ck_assert_int_eq(run_attempt(&other), FTL_COMPLETED);
    ck_assert_int_eq(other.verdict, FTL__VERDICT_DONE);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_uint_eq(name_left, 0); /* so it has not been waited for */
    ftl__run_clear(&hanging);
    ftl__run_clear(&other);
    name_set(false);
    name_await(&name_left, 1);
    server_stop();
}
END_TEST

START_TEST(an_abort_drops_the_request)
{
    struct ftl_run run;
    server_start();
    run_fill(&run, job_text, make_path("mute"));
    struct ftl_task *task = spawn(&run);
    await(&server.asked, 1, 1);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    await(&server.open, 0, 0);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_NONE);
    ftl__run_clear(&run);
    server_stop();
}
END_TEST

START_TEST(a_soft_abort_is_the_end_too)
{
    struct ftl_run run;
    server_start();
    run_fill(&run, job_text, make_path("mute"));
    struct ftl_task *task = spawn(&run);
    await(&server.asked, 1, 1);
    ftl_abort(task, 60 * FTL_S);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    expect_failure(&run, "Cancelled");
    await(&server.open, 0, 0);
    ftl__run_clear(&run);
    server_stop();
}
END_TEST

START_TEST(the_end_of_the_runtime_ends_requests)
{
    struct ftl_run runs[20];
    struct ftl_task *tasks[20];
    server_start();
    for (int i = 0; i < 20; i++) {
        run_fill(&runs[i], job_text, make_path("mute"));
        tasks[i] = spawn(&runs[i]);
    }
    await(&server.asked, 20, 20);
    ck_assert_uint_eq(ftl_runtime_shutdown(fixture_runtime, ftl_deadline(60 * FTL_S)), 0);
    await(&server.open, 0, 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_CANCELLED);
        ftl__run_clear(&runs[i]);
    }
    server_stop();
}
END_TEST

/* Ends of all kinds, at any moment. */
START_TEST(none_is_mixed_up_with_another)
{
    enum { RUNS = 150 };
    static struct ftl_run runs[RUNS];
    struct ftl_task *tasks[RUNS];
    unsigned seed = (unsigned)ftl_now();
    fprintf(stderr, "# seed %u\n", seed);
    srandom(seed);
    server_start();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < RUNS; i++) {
            run_fill(&runs[i], job_text, make_path(i % 3 == 0 ? "mute" : "ok"));
            tasks[i] = spawn(&runs[i]);
        }
        for (int i = 0; i < RUNS; i++) {
            if (i % 3 == 0 || random() % 8 == 0)
                ftl_abort(tasks[i], i % 2 * 60 * FTL_S);
            if (random() % 16 == 0)
                usleep((useconds_t)(random() % 500));
        }
        for (int i = 0; i < RUNS; i++) {
            enum ftl_outcome_kind kind = fixture_join(tasks[i]);
            ck_assert_int_ne(kind, FTL_PANICKED);
            if (kind == FTL_COMPLETED && runs[i].verdict != FTL__VERDICT_DONE)
                expect_failure(&runs[i], "Cancelled");
            ck_assert(i % 3 != 0 || runs[i].verdict != FTL__VERDICT_DONE);
            ftl__run_clear(&runs[i]);
        }
    }
    await(&server.open, 0, 0); /* the last handler has gone, and the connections with it */
    server_stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, a_name_that_hangs_blocks_nobody);
    FIXTURE_CASE(suite, an_abort_drops_the_request);
    FIXTURE_CASE(suite, a_soft_abort_is_the_end_too);
    FIXTURE_CASE(suite, the_end_of_the_runtime_ends_requests);
    FIXTURE_CASE(suite, none_is_mixed_up_with_another);
}

UNIT_MAIN("http", add_cases)
