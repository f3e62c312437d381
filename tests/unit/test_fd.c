/* SPDX-License-Identifier: MIT
 *
 * Descriptors and their owners: pipes, who closes what, and calls at awkward moments. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
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

/* ---- pipes and SIGPIPE ---- */

static void *write_to_nobody(void *arg)
{
    int error = 0;
    while (ftl_fd_write_all(arg, "x", 1, FTL_FOREVER, &error) == 0)
        ;
    ftl_assert(error == EPIPE);
    return NULL;
}

START_TEST(a_reader_that_has_gone_is_an_error_not_a_signal)
{
    struct ends ends = pair();
    struct ftl_fd *from, *to;
    ck_assert(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    ftl_fd_close(ends.b);
    write_to_nobody(ends.a); /* a foreign thread at a socket */
    fixture_run(write_to_nobody, ends.a);
    ftl_fd_close(ends.a);
    ck_assert_int_eq(ftl_pipe(fixture_runtime, &from, &to), 0);
    ftl_fd_close(from);
    fixture_run(write_to_nobody, to);
    ftl_fd_close(to);
}
END_TEST

START_TEST(a_pipe_is_opened_whole_or_not_at_all)
{
    struct ftl_fd *from = NULL, *to = NULL;
    struct rlimit limit, less;
    enum { ABOVE = 40 }; /* what the test was started with */
    int next, held[ABOVE], holes = 0;
    char byte = 0;
    while ((next = dup(0)) < ABOVE && next >= 0)
        held[holes++] = next;
    ck_assert_int_ge(next, 0);
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int spare = 0; spare <= 2; spare++) {
        less = (struct rlimit){(rlim_t)(next + spare), limit.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
        int rc = ftl_pipe(fixture_runtime, &from, &to), error = errno;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        ck_assert_int_eq(rc, spare < 2 ? FTL_ESYS : 0);
        ck_assert(spare == 2 || error == EMFILE);
        ck_assert(spare == 2 || !(from || to));
    }
    ck_assert_int_eq(ftl_fd_write_all(to, "x", 1, FTL_FOREVER, NULL), 0);
    ck_assert_int_eq(ftl_fd_read(from, &byte, 1, FTL_FOREVER, NULL), 1);
    ftl_fd_close(to);
    ck_assert_int_eq(ftl_fd_read(from, &byte, 1, FTL_FOREVER, NULL), 0);
    ftl_fd_close(from);
    int again = dup(0);
    close(again);
    ck_assert_int_eq(again, next); /* all closed */
    while (holes > 0)
        close(held[--holes]);
}
END_TEST

/* ---- ownership ---- */

enum end { RETURN, PANIC, WAIT };

struct owner {
    enum end end;
    int number;
    struct ftl_fd *moved;
    struct ftl_oneshot opened;
};

static bool is_open(int number)
{
    return fcntl(number, F_GETFD) != -1;
}

static void end_as(struct owner *owner)
{
    ftl_oneshot_send(&owner->opened, NULL);
    if (owner->end == PANIC)
        ftl_panic("expected");
    if (owner->end == WAIT)
        ftl_sleep_until(FTL_FOREVER);
}

static void *own(void *arg)
{
    struct owner *owner = arg;
    FTL_FD(from);
    FTL_FD(to);
    ftl_assert(ftl_pipe(ftl_runtime_current(), &from, &to) == 0);
    owner->number = ftl_fd_number(from);
    ftl_fd_close_at(&to); /* before its time */
    ftl_assert(!to);
    end_as(owner);
    return NULL;
}

static void *inherit(void *arg)
{
    struct owner *owner = arg;
    if (owner->end == RETURN)
        ftl_fd_close(owner->moved); /* rather than at the end */
    end_as(owner);
    return NULL;
}

static enum ftl_outcome_kind end_owner(struct ftl_task *task, struct owner *owner)
{
    void *nothing;
    ck_assert_int_eq(ftl_oneshot_recv(&owner->opened, FTL_FOREVER, &nothing), 0);
    if (owner->end == WAIT)
        ftl_abort(task, 0);
    return fixture_join(task);
}

static const enum ftl_outcome_kind outcomes[] = {FTL_COMPLETED, FTL_PANICKED, FTL_CANCELLED};

START_TEST(a_descriptor_is_closed_however_its_block_is_left)
{
    for (enum end end = RETURN; end <= WAIT; end++) {
        struct owner owner = {.end = end};
        struct ftl_task *task = fixture_spawn(own, &owner);
        ck_assert_int_eq(end_owner(task, &owner), outcomes[end]);
        ck_assert(!is_open(owner.number));
    }
}
END_TEST

START_TEST(a_descriptor_moves_into_a_task_and_ends_with_it)
{
    for (enum end end = RETURN; end <= WAIT; end++) {
        struct owner owner = {.end = end};
        struct ftl_defer *held = NULL;
        struct ftl_task *task;
        FTL_FD(from);
        FTL_FD(to);
        ck_assert_int_eq(ftl_pipe(fixture_runtime, &from, &to), 0);
        owner.number = ftl_fd_number(from);
        owner.moved = from;
        ftl_fd_move(&from, &held);
        ck_assert_ptr_null(from);
        ftl_fd_move(&from, &held); /* nothing */
        const struct ftl_spawn_options options = {.held = held};
        ck_assert_int_eq(ftl_spawn(fixture_runtime, inherit, &owner, &options, &task), 0);
        ck_assert_int_eq(end_owner(task, &owner), outcomes[end]);
        ck_assert(!is_open(owner.number));
    }
}
END_TEST

/* ---- awkward calls ---- */

static void see_frames(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    (void)name, (void)id, (void)frames;
    *(bool *)arg = count > 0; /* only a task that waits has any */
}

static void *wait_twice(void *arg)
{
    struct ftl_fd *fd = arg;
    char byte;
    int64_t deadline = ftl_deadline(5 * FTL_MS);
    /* What is there is read though the deadline has long passed. */
    ftl_assert(ftl_fd_read(fd, &byte, 1, 1, NULL) == 1);
    ftl_assert(ftl_fd_read(fd, &byte, 1, 1, NULL) == FTL_ETIMEDOUT);
    ftl_assert(ftl_fd_wait(fd, FTL_READ, deadline) == FTL_ETIMEDOUT);
    ftl_assert(ftl_now() >= deadline);
    return NULL;
}

START_TEST(a_deadline_that_has_passed_forbids_only_waiting)
{
    struct ends ends = pair();
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ftl_fd_write_all(ends.b, "x", 1, 1, NULL), 0);
        if (i == 0)
            fixture_run(wait_twice, ends.a);
        else
            wait_twice(ends.a);
    }
    ftl_fd_close(ends.a);
    ftl_fd_close(ends.b);
}
END_TEST

static void *read_for_ever(void *arg)
{
    char byte;
    return (void *)(intptr_t)ftl_fd_read(arg, &byte, 1, FTL_FOREVER, NULL);
}

START_TEST(a_second_reader_is_refused)
{
    struct ends ends = pair();
    struct ftl_outcome outcome;
    bool waits = false;
    char byte;
    struct ftl_task *task = fixture_spawn(read_for_ever, ends.a);
    while (!waits)
        ftl_runtime_dump(fixture_runtime, see_frames, &waits);
    ck_assert_int_eq(ftl_fd_read(ends.a, &byte, 1, FTL_FOREVER, NULL), FTL_EINVAL);
    ftl_abort(task, 60 * FTL_S); /* with a grace the wait returns */
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_int_eq((intptr_t)outcome.value, FTL_ECANCELED);
    ck_assert_int_eq(ftl_fd_read(ends.a, &byte, 1, ftl_deadline(FTL_MS), NULL), FTL_ETIMEDOUT);
    ftl_fd_close(ends.a);
    ftl_fd_close(ends.b);
}
END_TEST

START_TEST(a_regular_file_is_refused)
{
    struct ftl_fd *fd;
    int number = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(number, 0);
    ck_assert_int_eq(ftl_fd_open(fixture_runtime, number, &fd), FTL_ESYS);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(close(number), 0); /* still ours */
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, a_reader_that_has_gone_is_an_error_not_a_signal);
    FIXTURE_CASE(suite, a_pipe_is_opened_whole_or_not_at_all);
    FIXTURE_CASE(suite, a_descriptor_is_closed_however_its_block_is_left);
    FIXTURE_CASE(suite, a_descriptor_moves_into_a_task_and_ends_with_it);
    FIXTURE_CASE(suite, a_deadline_that_has_passed_forbids_only_waiting);
    FIXTURE_CASE(suite, a_second_reader_is_refused);
    FIXTURE_CASE(suite, a_regular_file_is_refused);
}

UNIT_MAIN("fd", add_cases)
