/* SPDX-License-Identifier: MIT
 *
 * Descriptors on the driver: pipes and sockets, deadlines, aborts, closing under a waiter. */
#include <errno.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fettle/channel.h>
#include <fettle/io.h>

#include "tests/unit/task_fixture.h"

struct ends {
    struct ftl_fd *a, *b;
};

static struct ends pair(void)
{
    struct ends ends;
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    ck_assert_int_eq(ftl_fd_open(fixture_runtime, fds[0], &ends.a), 0);
    ck_assert_int_eq(ftl_fd_open(fixture_runtime, fds[1], &ends.b), 0);
    return ends;
}

enum { BYTES = 8 << 20 };

static void *write_much(void *arg)
{
    static const char block[100000];
    for (size_t left = BYTES; left > 0;) {
        size_t n = left < sizeof block ? left : sizeof block;
        ftl_assert(ftl_fd_write_all(arg, block, n, FTL_FOREVER, NULL) == 0);
        left -= n;
    }
    ftl_fd_close(arg);
    return NULL;
}

static void *read_all(void *arg)
{
    char buf[7000];
    size_t got = 0;
    ssize_t n;
    while ((n = ftl_fd_read(arg, buf, sizeof buf, FTL_FOREVER, NULL)) > 0)
        got += (size_t)n;
    ftl_assert(n == 0 && got == BYTES);
    ftl_fd_close(arg);
    return NULL;
}

START_TEST(much_goes_through_a_socket_both_sides_waiting)
{
    struct ftl_task *tasks[16];
    for (int i = 0; i < 16; i += 2) {
        struct ends ends = pair();
        tasks[i] = fixture_spawn(write_much, ends.a);
        tasks[i + 1] = fixture_spawn(read_all, ends.b);
    }
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

static void *read_with_deadline(void *arg)
{
    char byte;
    int64_t before = ftl_now();
    ftl_assert(ftl_fd_read(arg, &byte, 1, ftl_deadline(10 * FTL_MS), NULL) == FTL_ETIMEDOUT);
    ftl_assert(ftl_now() - before >= 10 * FTL_MS);
    return NULL;
}

START_TEST(a_read_ends_at_its_deadline)
{
    struct ends ends = pair();
    fixture_run(read_with_deadline, ends.a);
    read_with_deadline(ends.a); /* a foreign thread */
    ftl_fd_close(ends.a);
    ftl_fd_close(ends.b);
}
END_TEST

static void *echo_forever(void *arg)
{
    char byte;
    for (;;) {
        ssize_t n = ftl_fd_read(arg, &byte, 1, FTL_FOREVER, NULL);
        if (n <= 0)
            return (void *)(intptr_t)n;
        ftl_assert(ftl_fd_write_all(arg, &byte, 1, FTL_FOREVER, NULL) == 0);
    }
}

START_TEST(a_foreign_thread_talks_to_a_task)
{
    struct ends ends = pair();
    struct ftl_outcome outcome;
    struct ftl_task *echo = fixture_spawn(echo_forever, ends.b);
    for (int i = 0; i < 3000; i++) {
        char sent = (char)i, back = (char)(i + 1);
        ck_assert_int_eq(ftl_fd_write_all(ends.a, &sent, 1, FTL_FOREVER, NULL), 0);
        ck_assert_int_eq(ftl_fd_read(ends.a, &back, 1, FTL_FOREVER, NULL), 1);
        ck_assert_int_eq(back, sent);
    }
    ftl_fd_close(ends.a);
    ck_assert_int_eq(ftl_task_join(echo, FTL_FOREVER, &outcome), 0);
    ck_assert_ptr_null(outcome.value); /* end of file */
    ftl_fd_close(ends.b);
}
END_TEST

START_TEST(an_abort_ends_a_read)
{
    struct ends ends = pair();
    struct ftl_task *echo = fixture_spawn(echo_forever, ends.b);
    char byte = 'x';
    ck_assert_int_eq(ftl_fd_write_all(ends.a, &byte, 1, FTL_FOREVER, NULL), 0);
    ck_assert_int_eq(ftl_fd_read(ends.a, &byte, 1, FTL_FOREVER, NULL), 1);
    ftl_abort(echo, 0);
    ck_assert_int_eq(fixture_join(echo), FTL_CANCELLED);
    ftl_fd_close(ends.a);
    ftl_fd_close(ends.b);
}
END_TEST

static void *wait_until_closed(void *arg)
{
    struct ends *ends = arg;
    ftl_assert(ftl_fd_wait(ends->a, FTL_READ, FTL_FOREVER) == 0); /* the first returns at once */
    return (void *)(intptr_t)ftl_fd_wait(ends->a, FTL_READ, FTL_FOREVER);
}

static void see_frames(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    (void)name, (void)id, (void)frames;
    *(bool *)arg = count > 0; /* only a task that waits has any */
}

START_TEST(closing_wakes_the_waiter)
{
    struct ends ends = pair();
    struct ftl_outcome outcome;
    bool waits = false;
    struct ftl_task *task = fixture_spawn(wait_until_closed, &ends);
    while (!waits)
        ftl_runtime_dump(fixture_runtime, see_frames, &waits);
    struct ftl_fd *closing = ends.a;
    ftl_fd_close(closing);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq((intptr_t)outcome.value, FTL_ECLOSED);
    ftl_fd_close(ends.b);
}
END_TEST

START_TEST(release_gives_the_descriptor_back)
{
    struct ends ends = pair();
    int number = ftl_fd_number(ends.a);
    ck_assert_int_eq(ftl_fd_release(ends.a), number);
    ck_assert_int_eq(write(number, "x", 1), 1);
    ck_assert_int_eq(close(number), 0);
    ftl_fd_close(ends.b);
}
END_TEST

START_TEST(errors_are_told_with_their_errno)
{
    struct ends ends = pair();
    int error = 0;
    ftl_fd_close(ends.b);
    while (ftl_fd_write_all(ends.a, "x", 1, FTL_FOREVER, &error) == 0)
        ;
    ck_assert_int_eq(error, EPIPE);
    ftl_fd_close(ends.a);
    struct ftl_fd *fd;
    ck_assert_int_eq(ftl_fd_open(fixture_runtime, -1, &fd), FTL_ESYS);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, much_goes_through_a_socket_both_sides_waiting);
    FIXTURE_CASE(suite, a_read_ends_at_its_deadline);
    FIXTURE_CASE(suite, a_foreign_thread_talks_to_a_task);
    FIXTURE_CASE(suite, an_abort_ends_a_read);
    FIXTURE_CASE(suite, closing_wakes_the_waiter);
    FIXTURE_CASE(suite, release_gives_the_descriptor_back);
    FIXTURE_CASE(suite, errors_are_told_with_their_errno);
}

UNIT_MAIN("io", add_cases)
