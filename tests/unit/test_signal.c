/* SPDX-License-Identifier: MIT
 *
 * Signals as events. The process sends them to itself; its own thread, which runs the test, is the
 * one that they interrupt. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/signal.h>

#include "tests/unit/task_fixture.h"

static struct ftl_signal *listen_to(struct ftl_runtime *runtime, int number, int other)
{
    struct ftl_signal *listener;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    if (other)
        sigaddset(&set, other);
    ck_assert_int_eq(ftl_signal_open(runtime, &set, &listener), 0);
    return listener;
}

static void send_signal(int number)
{
    ck_assert_int_eq(kill(getpid(), number), 0);
}

static int64_t soon(void)
{
    return ftl_deadline(60 * unit_slow() * FTL_S);
}

static void expect(struct ftl_signal *listener, int number)
{
    int got = 0;
    ck_assert_int_eq(ftl_signal_wait(listener, soon(), &got), 0);
    ck_assert_int_eq(got, number);
}

static void expect_none(struct ftl_signal *listener)
{
    int got = 4711;
    ck_assert_int_eq(ftl_signal_wait(listener, ftl_deadline(FTL_MS), &got), FTL_ETIMEDOUT);
    ck_assert_int_eq(got, 4711);
}

static void *wait_for_one(void *arg)
{
    int got = 0;
    int rc = ftl_signal_wait(arg, FTL_FOREVER, &got);
    return (void *)(intptr_t)(rc == 0 ? got : rc);
}

static intptr_t value_of(struct ftl_task *task)
{
    struct ftl_outcome outcome;
    ck_assert_int_eq(ftl_task_join(task, soon(), &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    return (intptr_t)outcome.value;
}

START_TEST(every_listener_hears_it_in_whichever_runtime)
{
    enum { EACH = 3 };
    struct ftl_runtime *other;
    struct ftl_signal *listeners[2 * EACH];
    struct ftl_task *tasks[2 * EACH];
    ck_assert_int_eq(ftl_runtime_start(NULL, &other), 0);
    for (int i = 0; i < 2 * EACH; i++) {
        struct ftl_runtime *runtime = i < EACH ? fixture_runtime : other;
        listeners[i] = listen_to(runtime, SIGUSR1, i % 2 ? SIGUSR2 : 0);
        ck_assert_int_eq(ftl_spawn(runtime, wait_for_one, listeners[i], NULL, &tasks[i]), 0);
    }
    send_signal(SIGUSR1);
    for (int i = 0; i < 2 * EACH; i++)
        ck_assert_int_eq(value_of(tasks[i]), SIGUSR1);
    send_signal(SIGUSR2); /* unheard by half of them, and not deadly */
    for (int i = 1; i < 2 * EACH; i += 2)
        expect(listeners[i], SIGUSR2);
    for (int i = 0; i < 2 * EACH; i++) {
        expect_none(listeners[i]);
        ftl_signal_close(listeners[i]);
    }
    ck_assert_uint_eq(ftl_runtime_shutdown(other, FTL_FOREVER), 0);
    ftl_runtime_free(other);
}
END_TEST

START_TEST(what_comes_before_the_wait_is_kept_and_what_comes_twice_is_one)
{
    struct ftl_signal *listener = listen_to(fixture_runtime, SIGUSR1, SIGTERM);
    for (int i = 0; i < 3; i++)
        send_signal(SIGTERM);
    send_signal(SIGUSR1);
    expect(listener, SIGUSR1);
    expect(listener, SIGTERM);
    expect_none(listener);
    send_signal(SIGTERM); /* and after it was taken it is heard anew */
    expect(listener, SIGTERM);
    expect_none(listener);
    ftl_signal_close(listener);
}
END_TEST

static _Atomic int heard;

static void *count_signals(void *arg)
{
    int got;
    while (ftl_signal_wait(arg, FTL_FOREVER, &got) == 0)
        atomic_fetch_add(&heard, 1);
    return NULL;
}

static void see_frames(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    (void)name, (void)id, (void)frames;
    *(bool *)arg |= count > 0; /* only a task that waits has any */
}

/* The only task, which comes to wait, waits. */
static void await_waiting(void)
{
    for (bool waits = false; !waits; sched_yield())
        ftl_runtime_dump(fixture_runtime, see_frames, &waits);
}

START_TEST(no_edge_is_lost)
{
    struct ftl_signal *listener = listen_to(fixture_runtime, SIGUSR1, 0);
    struct ftl_task *task = fixture_spawn(count_signals, listener);
    int64_t end = soon();
    for (int i = 1; i <= 2000 / unit_slow(); i++) {
        send_signal(SIGUSR1);
        while (atomic_load(&heard) < i) { /* each of them, if one waits for it */
            ck_assert_int_lt(ftl_now(), end);
            sched_yield();
        }
    }
    await_waiting();
    ftl_signal_close(listener);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
}
END_TEST

static volatile sig_atomic_t own_handler;

static void note(int number)
{
    own_handler = number;
}

START_TEST(the_last_to_close_puts_back_what_was_there)
{
    struct ftl_signal *one, *two;
    ck_assert(signal(SIGUSR1, note) != SIG_ERR);
    one = listen_to(fixture_runtime, SIGUSR1, 0);
    two = listen_to(fixture_runtime, SIGUSR1, 0);
    send_signal(SIGUSR1);
    expect(one, SIGUSR1);
    ftl_signal_close(one);
    send_signal(SIGUSR1);
    expect(two, SIGUSR1);
    ck_assert_int_eq(own_handler, 0);
    ftl_signal_close(two);
    send_signal(SIGUSR1);
    ck_assert_int_eq(own_handler, SIGUSR1);
    two = listen_to(fixture_runtime, SIGUSR1, 0);
    ck_assert(signal(SIGUSR1, SIG_IGN) != SIG_ERR); /* not ours any more */
    ftl_signal_close(two);
    ck_assert(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
    ftl_signal_close(NULL);
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline_by_an_abort_and_by_a_close)
{
    struct ftl_signal *listener = listen_to(fixture_runtime, SIGUSR1, 0);
    int got = 0;
    int64_t deadline = ftl_deadline(5 * FTL_MS);
    ck_assert_int_eq(ftl_signal_wait(listener, deadline, &got), FTL_ETIMEDOUT);
    ck_assert_int_ge(ftl_now(), deadline);
    for (int i = 0; i < 2; i++) {
        struct ftl_task *task = fixture_spawn(wait_for_one, listener);
        if (i > 0)
            await_waiting();
        ftl_abort(task, 0);
        ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    }
    struct ftl_task *task = fixture_spawn(wait_for_one, listener);
    send_signal(SIGUSR1);
    ck_assert_int_eq(value_of(task), SIGUSR1);
    task = fixture_spawn(wait_for_one, listener);
    await_waiting();
    ftl_signal_close(listener);
    ck_assert_int_eq(value_of(task), FTL_ECLOSED);
}
END_TEST

static int open_with(int number, struct ftl_signal **ret_listener)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (number)
        sigaddset(&set, number);
    else
        sigemptyset(&set);
    return ftl_signal_open(fixture_runtime, &set, ret_listener);
}

START_TEST(what_cannot_be_heard_is_refused)
{
    static const int numbers[] = {0,      SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
                                  SIGFPE, SIGILL,  SIGTRAP, SIGSYS,  SIGABRT, SIGURG};
    struct ftl_signal *listener = NULL;
    struct rlimit limit, none;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        ck_assert_int_eq(open_with(numbers[i], &listener), FTL_EINVAL);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){3, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = open_with(SIGUSR2, &listener), error = errno;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(rc, FTL_ESYS);
    ck_assert_int_eq(error, EMFILE);
    ck_assert_ptr_null(listener);
    ck_assert(signal(SIGUSR1, SIG_DFL) == SIG_DFL); /* nothing was installed */
}
END_TEST

static _Atomic bool stop;

static void *send_on_and_on(void *arg)
{
    while (!atomic_load(&stop))
        pthread_kill(pthread_self(), SIGUSR1);
    return arg;
}

/* The handler is in the list at every instant of its changes. */
START_TEST(listeners_come_and_go_under_fire)
{
    struct ftl_signal *stays = listen_to(fixture_runtime, SIGUSR1, 0);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, send_on_and_on, NULL), 0);
    for (int i = 0; i < 500 / unit_slow(); i++) {
        struct ftl_signal *one = listen_to(fixture_runtime, SIGUSR1, 0);
        struct ftl_signal *two = listen_to(fixture_runtime, SIGUSR1, SIGUSR2);
        expect(i % 2 ? one : two, SIGUSR1);
        ftl_signal_close(one);
        ftl_signal_close(two);
    }
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    expect(stays, SIGUSR1);
    ftl_signal_close(stays);
}
END_TEST

/* errno of the code that is interrupted stays as it was. */
START_TEST(the_interrupted_code_does_not_notice)
{
    struct ftl_signal *listener = listen_to(fixture_runtime, SIGUSR1, 0);
    for (int i = 0; i < 100; i++) {
        errno = 4711;
        raise(SIGUSR1);
        ck_assert_int_eq(errno, 4711);
    }
    expect(listener, SIGUSR1);
    ftl_signal_close(listener);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, every_listener_hears_it_in_whichever_runtime);
    FIXTURE_CASE(suite, what_comes_before_the_wait_is_kept_and_what_comes_twice_is_one);
    FIXTURE_CASE(suite, no_edge_is_lost);
    FIXTURE_CASE(suite, the_last_to_close_puts_back_what_was_there);
    FIXTURE_CASE(suite, a_wait_ends_at_its_deadline_by_an_abort_and_by_a_close);
    FIXTURE_CASE(suite, what_cannot_be_heard_is_refused);
    FIXTURE_CASE(suite, listeners_come_and_go_under_fire);
    FIXTURE_CASE(suite, the_interrupted_code_does_not_notice);
}

UNIT_MAIN("signal", add_cases)
