/* SPDX-License-Identifier: MIT
 *
 * Descriptors on the driver: pipes and sockets, deadlines, aborts, closing under a waiter. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
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

/* One worker, so that who runs when is certain. */
struct closing {
    struct ftl_fd *read, *other;
    int read_peer, other_peer;
    struct ftl_oneshot sent;
    int reads, result, number;
    _Atomic bool reading;
};

static void open_pair(struct ftl_fd **fd, int *ret_peer)
{
    int fds[2];
    ftl_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    ftl_assert(ftl_fd_open(ftl_runtime_current(), fds[0], fd) == 0);
    *ret_peer = fds[1];
}

static void *read_one(void *arg)
{
    struct closing *closing = arg;
    char byte;
    closing->result = (int)ftl_fd_read(closing->read, &byte, 1, FTL_FOREVER, NULL);
    return NULL;
}

/* The number of the closed descriptor is not given out before the reader has left. */
static void *close_when_told(void *arg)
{
    struct closing *closing = arg;
    char byte;
    int fds[2];
    closing->number = ftl_fd_number(closing->read);
    ftl_assert(ftl_fd_read(closing->other, &byte, 1, FTL_FOREVER, NULL) == 1);
    ftl_fd_close(closing->read);
    ftl_assert(pipe2(fds, O_NONBLOCK) == 0);
    ftl_assert(fds[0] != closing->number && fds[1] != closing->number);
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

static void spawn_both(ftl_task_fn first, ftl_task_fn second, void *arg, struct ftl_task *tasks[2])
{
    ftl_assert(ftl_spawn(ftl_runtime_current(), first, arg, NULL, &tasks[0]) == 0);
    ftl_assert(ftl_spawn(ftl_runtime_current(), second, arg, NULL, &tasks[1]) == 0);
}

static void join_both(struct ftl_task *tasks[2])
{
    for (int i = 0; i < 2; i++) {
        struct ftl_outcome outcome;
        ftl_assert(ftl_task_join(tasks[i], FTL_FOREVER, &outcome) == 0);
        ftl_assert(outcome.kind == FTL_COMPLETED);
    }
}

static void *close_under_woken(void *arg)
{
    struct closing closing = {0};
    struct ftl_task *tasks[2];
    (void)arg;
    open_pair(&closing.read, &closing.read_peer);
    open_pair(&closing.other, &closing.other_peer);
    spawn_both(read_one, close_when_told, &closing, tasks);
    ftl_sleep(5 * FTL_MS); /* both wait */
    /* Both are woken by the same poll; the one who was woken last runs first. */
    ftl_assert(write(closing.read_peer, "a", 1) == 1 && write(closing.other_peer, "b", 1) == 1);
    join_both(tasks);
    ftl_assert(closing.result == FTL_ECLOSED);
    ftl_assert(fcntl(closing.number, F_GETFD) == -1); /* closed by the reader, on its way out */
    ftl_fd_close(closing.other);
    close(closing.read_peer);
    close(closing.other_peer);
    return NULL;
}

/* The budget of operations ends exactly where the read would begin to wait. */
static void *read_with_last_budget(void *arg)
{
    struct closing *closing = arg;
    void *nothing;
    ftl_yield();
    atomic_store(&closing->reading, true);
    for (int i = 0; i < closing->reads; i++)
        ftl_assert(ftl_oneshot_recv(&closing->sent, FTL_FOREVER, &nothing) == 0);
    return read_one(closing);
}

/* Runs while the reader yields, and makes the driver poll before the reader is back. */
static void *close_and_poll(void *arg)
{
    struct closing *closing = arg;
    while (!atomic_load(&closing->reading))
        ftl_yield();
    ftl_fd_close(closing->read);
    for (int i = 0; i < 200; i++)
        ftl_yield();
    return NULL;
}

static void *yield_often(void *arg)
{
    for (int i = 0; i < 5; i++)
        ftl_yield();
    return arg;
}

static void *close_under_yielding(void *arg)
{
    (void)arg;
    for (int reads = 120; reads < 128; reads++) {
        struct closing closing = {.reads = reads};
        struct ftl_task *tasks[2];
        open_pair(&closing.read, &closing.read_peer);
        ftl_oneshot_init(&closing.sent);
        ftl_oneshot_send(&closing.sent, NULL);
        spawn_both(read_with_last_budget, close_and_poll, &closing, tasks);
        for (int i = 0; i < 100; i++)
            ftl_assert(ftl_spawn(ftl_runtime_current(), yield_often, NULL, NULL, NULL) == 0);
        join_both(tasks);
        ftl_assert(closing.result == FTL_ECLOSED);
        close(closing.read_peer);
    }
    return NULL;
}

static void run_on_one_worker(ftl_task_fn fn)
{
    /* Nobody else polls. */
    const struct ftl_runtime_options options = {.workers = 1, .unmonitored = true};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, fn, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}

START_TEST(a_reader_that_was_woken_sees_the_close)
{
    run_on_one_worker(close_under_woken);
}
END_TEST

START_TEST(a_reader_that_yields_sees_the_close)
{
    run_on_one_worker(close_under_yielding);
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

/* Of the library's calls too: one that asks for room lets a release overtake it, if that can. */
static struct {
    _Atomic bool armed, asked, released;
} overtake;

int epoll_ctl(int epoll, int operation, int number, struct epoll_event *event)
{
    /* ThreadSanitizer's, where there is one. */
    static int (*_Atomic next)(int, int, int, struct epoll_event *);
    if (!atomic_load(&next))
        atomic_store(&next, (int (*)(int, int, int, struct epoll_event *))(uintptr_t)dlsym(
                                RTLD_NEXT, "epoll_ctl"));
    if (operation == EPOLL_CTL_MOD && atomic_exchange(&overtake.armed, false)) {
        atomic_store(&overtake.asked, true);
        int64_t limit = ftl_deadline(50 * FTL_MS);
        while (!atomic_load(&overtake.released) && ftl_now() < limit)
            sched_yield();
    }
    return atomic_load(&next)(epoll, operation, number, event);
}

static void *wait_for_room(void *arg)
{
    static const char block[100000];
    while (send(ftl_fd_number(arg), block, sizeof block, MSG_DONTWAIT) > 0)
        ;
    atomic_store(&overtake.armed, true);
    ftl_assert(ftl_fd_write_all(arg, block, 1, FTL_FOREVER, NULL) == FTL_ECLOSED);
    return NULL;
}

START_TEST(release_does_not_overtake_a_wait_for_room)
{
    struct ends ends = pair();
    struct ftl_task *task = fixture_spawn(wait_for_room, ends.a);
    while (!atomic_load(&overtake.asked))
        sched_yield();
    int number = ftl_fd_release(ends.a);
    ck_assert_int_eq(close(number), 0);
    atomic_store(&overtake.released, true);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
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

/* ---- the driver ---- */

static _Atomic int arrivals;
static _Atomic bool leave;

static void *receive(void *arg)
{
    char byte;
    while (ftl_fd_read(arg, &byte, 1, FTL_FOREVER, NULL) == 1)
        atomic_fetch_add(&arrivals, 1);
    return NULL;
}

/* Keeps its worker from the moment at which it was woken by the driver. */
static void *wake_and_burn(void *arg)
{
    char byte;
    ftl_assert(ftl_fd_read(arg, &byte, 1, FTL_FOREVER, NULL) == 1);
    atomic_fetch_add(&arrivals, 1);
    while (!atomic_load(&leave))
        ;
    return NULL;
}

static void await_arrivals(int count)
{
    int64_t end = ftl_deadline(60 * FTL_S);
    while (atomic_load(&arrivals) < count) {
        ck_assert_int_lt(ftl_now(), end);
        sched_yield();
    }
}

START_TEST(a_task_that_keeps_its_worker_keeps_no_descriptor_of_others)
{
    for (int round = 0; round < 20; round++) {
        struct ends burner = pair(), other[4];
        struct ftl_task *tasks[5];
        int before = 0;
        atomic_store(&arrivals, 0);
        atomic_store(&leave, false);
        tasks[4] = fixture_spawn(wake_and_burn, burner.a);
        ck_assert_int_eq(ftl_fd_write_all(burner.b, "x", 1, FTL_FOREVER, NULL), 0);
        await_arrivals(1); /* now it burns: what starts now starts on the other */
        for (int i = 0; i < 4; i++) {
            other[i] = pair();
            tasks[i] = fixture_spawn(receive, other[i].a);
        }
        for (before = 1; before < 41; before += 4) {
            for (int i = 0; i < 4; i++)
                ck_assert_int_eq(ftl_fd_write_all(other[i].b, "x", 1, FTL_FOREVER, NULL), 0);
            await_arrivals(before + 4);
        }
        atomic_store(&leave, true);
        for (int i = 0; i < 4; i++)
            ftl_fd_close(other[i].b);
        for (int i = 0; i < 5; i++)
            ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
        for (int i = 0; i < 4; i++)
            ftl_fd_close(other[i].a);
        ftl_fd_close(burner.a);
        ftl_fd_close(burner.b);
    }
}
END_TEST

enum { LONG = 1 << 20 };

static void *write_until_closed(void *arg)
{
    static const char bytes[LONG];
    ftl_assert(ftl_fd_write_all(arg, bytes, sizeof bytes, FTL_FOREVER, NULL) == FTL_ECLOSED);
    return NULL;
}

/* What was written to a socket in between, which nobody should have. */
static void expect_silence(int number)
{
    char byte;
    ck_assert_int_eq(recv(number, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

START_TEST(a_close_at_any_instant_lets_no_call_touch_anothers_descriptor)
{
    static char bytes[LONG / 4];
    for (int i = 0; i < 1000 / unit_slow(); i++) {
        int mine[2], others[2];
        struct ftl_fd *fd;
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, mine), 0);
        ck_assert_int_eq(ftl_fd_open(fixture_runtime, mine[0], &fd), 0);
        struct ftl_task *task = fixture_spawn(write_until_closed, fd);
        for (size_t left = 1 + (size_t)i % 100 * 2000; left > 0;) { /* it goes on meanwhile */
            ssize_t n = recv(mine[1], bytes, left, 0);
            ck_assert_int_gt(n, 0);
            left -= (size_t)n;
        }
        ftl_fd_close(fd);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, others), 0);
        ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
        for (int end = 0; end < 2; end++)
            expect_silence(others[end]);
        for (int end = 0; end < 2; end++)
            close(others[end]);
        close(mine[1]);
    }
}
END_TEST

/* Filters of system calls are older than this one, and systemd's say EPERM. */
static void forbid_epoll_pwait2(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof steps / sizeof steps[0], .filter = steps};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

static int64_t cpu_time(void)
{
    struct timespec used;
    ck_assert_int_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return used.tv_sec * FTL_S + used.tv_nsec;
}

static void *sleep_a_while(void *arg)
{
    for (int i = 0; i < 20; i++)
        ftl_sleep(20 * FTL_MS);
    return arg;
}

START_TEST(idle_costs_nothing_where_epoll_pwait2_is_forbidden)
{
    forbid_epoll_pwait2(); /* for good: the last case */
    fixture_start();
    int64_t before = cpu_time();
    fixture_run(sleep_a_while, NULL);
    ck_assert_int_lt(cpu_time() - before, 200 * FTL_MS);
    fixture_stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, much_goes_through_a_socket_both_sides_waiting);
    FIXTURE_CASE(suite, a_read_ends_at_its_deadline);
    FIXTURE_CASE(suite, a_foreign_thread_talks_to_a_task);
    FIXTURE_CASE(suite, an_abort_ends_a_read);
    FIXTURE_CASE(suite, closing_wakes_the_waiter);
    UNIT_CASE(suite, a_reader_that_was_woken_sees_the_close);
    UNIT_CASE(suite, a_reader_that_yields_sees_the_close);
    FIXTURE_CASE(suite, release_gives_the_descriptor_back);
    FIXTURE_CASE(suite, release_does_not_overtake_a_wait_for_room);
    FIXTURE_CASE(suite, errors_are_told_with_their_errno);
    FIXTURE_CASE(suite, a_task_that_keeps_its_worker_keeps_no_descriptor_of_others);
    FIXTURE_CASE(suite, a_close_at_any_instant_lets_no_call_touch_anothers_descriptor);
    UNIT_CASE(suite, idle_costs_nothing_where_epoll_pwait2_is_forbidden);
}

UNIT_MAIN("io", add_cases)
