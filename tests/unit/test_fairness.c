/* SPDX-License-Identifier: MIT
 *
 * Who runs when, and where: the budget, the slot for what was woken last, tasks from outside, pinned
 * and migratable tasks. A task that starves makes its test hang. */
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fettle/channel.h>
#include <fettle/io.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static struct ftl_runtime *one; /* worker */
static _Atomic bool done;

static void start(void)
{
    const struct ftl_runtime_options options = {.workers = 1};
    atomic_store(&done, false);
    ck_assert_int_eq(ftl_runtime_start(&options, &one), 0);
}

static void stop(void)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(one, ftl_deadline(60 * unit_slow() * FTL_S)), 0);
    ftl_runtime_free(one);
}

static void *set_done(void *arg)
{
    atomic_store(&done, true);
    return arg;
}

static struct ftl_task *spawn_on_one(ftl_task_fn fn, void *arg)
{
    struct ftl_task *task;
    ftl_assert(ftl_spawn(one, fn, arg, NULL, &task) == 0);
    return task;
}

/* ---- operations that are always ready ---- */

static void use_notify(void)
{
    struct ftl_notify *notify = ftl_notify_new();
    ftl_assert(notify);
    while (!atomic_load(&done)) {
        ftl_notify_one(notify);
        ftl_assert(ftl_notify_wait(notify, FTL_FOREVER) == 0);
    }
    ftl_notify_free(notify);
}

static void use_semaphore(void)
{
    struct ftl_semaphore *semaphore = ftl_semaphore_new(1);
    ftl_assert(semaphore);
    while (!atomic_load(&done)) {
        FTL_PERMIT(permit);
        ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
    }
    ftl_semaphore_free(semaphore);
}

static void use_channel(void)
{
    struct ftl_channel *channel = ftl_channel_new(1, NULL);
    void *message;
    ftl_assert(channel);
    while (!atomic_load(&done)) {
        ftl_assert(ftl_channel_send(channel, channel, FTL_FOREVER) == 0);
        ftl_assert(ftl_channel_recv(channel, FTL_FOREVER, &message) == 0);
    }
    ftl_channel_unref(channel);
}

static void use_oneshot(void)
{
    while (!atomic_load(&done)) {
        struct ftl_oneshot oneshot;
        void *value;
        ftl_oneshot_init(&oneshot);
        ftl_oneshot_send(&oneshot, NULL);
        ftl_assert(ftl_oneshot_recv(&oneshot, FTL_FOREVER, &value) == 0);
    }
}

static void *nothing(void *arg)
{
    return arg;
}

static void use_join(void)
{
    struct ftl_outcome outcome;
    struct ftl_task *task = spawn_on_one(nothing, NULL);
    while (!ftl_task_is_finished(task))
        ftl_yield();
    while (!atomic_load(&done))
        ftl_assert(ftl_task_join(ftl_task_ref(task), FTL_FOREVER, &outcome) == 0);
    ftl_task_detach(task);
}

static void use_sockets(void)
{
    int ends[2];
    struct ftl_fd *fds[2];
    char byte = 'x';
    ftl_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    for (int i = 0; i < 2; i++)
        ftl_assert(ftl_fd_open(one, ends[i], &fds[i]) == 0);
    while (!atomic_load(&done)) {
        ftl_assert(ftl_fd_write_all(fds[0], &byte, 1, FTL_FOREVER, NULL) == 0);
        ftl_assert(ftl_fd_read(fds[1], &byte, 1, FTL_FOREVER, NULL) == 1);
    }
    ftl_fd_close(fds[0]);
    ftl_fd_close(fds[1]);
}

static void (*const always_ready[])(void) = {use_notify,  use_semaphore, use_channel,
                                             use_oneshot, use_join,      use_sockets};
enum { OPERATIONS = sizeof always_ready / sizeof always_ready[0] };

/* Its sibling is queued behind it, on the only worker. */
static void *be_busy(void *arg)
{
    struct ftl_outcome outcome;
    struct ftl_task *sibling = spawn_on_one(set_done, NULL);
    (*(void (*const *)(void))arg)();
    ftl_assert(ftl_task_join(sibling, FTL_FOREVER, &outcome) == 0);
    return NULL;
}

START_TEST(an_operation_that_is_always_ready_lets_a_sibling_run)
{
    void *operation = (void *)(uintptr_t)&always_ready[_i];
    ck_assert_int_eq(fixture_join(spawn_on_one(be_busy, operation)), FTL_COMPLETED);
}
END_TEST

/* ---- the slot ---- */

struct pair {
    struct ftl_notify *mine, *yours;
    bool serves; /* first */
};

/* There is one ball. When the third comes into being, it makes room in the slot at once for the one
 * that is woken, and stands in the queue. */
static void *play(void *arg)
{
    struct pair *pair = arg;
    if (pair->serves)
        ftl_notify_one(pair->yours);
    for (int round = 0; !atomic_load(&done); round++) {
        ftl_assert(ftl_notify_wait(pair->mine, FTL_FOREVER) == 0);
        ftl_assert(round < 100); /* it has its turn soon */
        if (pair->serves && round == 10)
            ftl_task_detach(spawn_on_one(set_done, NULL));
        ftl_notify_one(pair->yours);
    }
    return NULL;
}

static void *two_and_a_third(void *arg)
{
    struct ftl_notify *a = ftl_notify_new(), *b = ftl_notify_new();
    struct pair pairs[2] = {{a, b, true}, {b, a, false}};
    struct ftl_task *tasks[2];
    ftl_assert(a && b);
    for (int i = 0; i < 2; i++)
        tasks[i] = spawn_on_one(play, &pairs[i]);
    for (int i = 0; i < 2; i++) {
        struct ftl_outcome outcome;
        ftl_assert(ftl_task_join(tasks[i], FTL_FOREVER, &outcome) == 0);
        ftl_assert(outcome.kind == FTL_COMPLETED);
    }
    ftl_notify_free(a);
    ftl_notify_free(b);
    return arg;
}

START_TEST(two_tasks_that_wake_each_other_do_not_starve_a_third)
{
    ck_assert_int_eq(fixture_join(spawn_on_one(two_and_a_third, NULL)), FTL_COMPLETED);
}
END_TEST

static void *spawn_its_successor(void *arg)
{
    if (!atomic_load(&done))
        ftl_task_detach(spawn_on_one(spawn_its_successor, arg));
    return NULL;
}

START_TEST(a_chain_of_spawns_does_not_starve_a_task_that_yields)
{
    struct ftl_task *first = spawn_on_one(spawn_its_successor, NULL);
    ck_assert_int_eq(fixture_join(first), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(spawn_on_one(set_done, NULL)), FTL_COMPLETED);
}
END_TEST

/* ---- what comes from outside ---- */

static void *yield_until_done(void *arg)
{
    while (!atomic_load(&done))
        ftl_yield();
    return arg;
}

static void *sleep_then_set_done(void *arg)
{
    ftl_sleep(FTL_MS);
    return set_done(arg);
}

static void *read_then_set_done(void *arg)
{
    char byte;
    ftl_assert(ftl_fd_read(arg, &byte, 1, FTL_FOREVER, NULL) == 1);
    return set_done(NULL);
}

/* A worker that always has something to do looks at timers, descriptors and what was injected. */
START_TEST(a_busy_worker_looks_outside)
{
    int ends[2];
    struct ftl_fd *fd;
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(ftl_fd_open(one, ends[0], &fd), 0);
    for (int way = 0; way < 3; way++) {
        struct ftl_task *busy[10];
        ftl_task_fn const ways[] = {set_done, sleep_then_set_done, read_then_set_done};
        atomic_store(&done, false);
        for (int i = 0; i < 10; i++)
            busy[i] = spawn_on_one(yield_until_done, NULL);
        struct ftl_task *task = spawn_on_one(ways[way], fd);
        ck_assert_int_eq(write(ends[1], "x", way == 2), way == 2);
        ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
        for (int i = 0; i < 10; i++)
            ck_assert_int_eq(fixture_join(busy[i]), FTL_COMPLETED);
    }
    ftl_fd_close(fd);
    close(ends[1]);
}
END_TEST

/* ---- pinned and migratable ---- */

static void *keep_the_worker(void *arg)
{
    int64_t until = *(int64_t *)arg;
    while (!atomic_load(&done) && ftl_now() < until)
        sched_yield();
    return NULL;
}

/* Yields to a task that keeps its worker; the other worker is idle. True: it went there. */
static void *yield_to_a_burner(void *arg)
{
    struct ftl_task *burner;
    struct ftl_outcome outcome;
    pid_t before = gettid(); /* pthread_self() is a constant to the compiler */
    ftl_assert(ftl_spawn(ftl_runtime_current(), keep_the_worker, arg, NULL, &burner) == 0);
    ftl_yield();
    pid_t after = gettid();
    atomic_store(&done, true);
    ftl_assert(ftl_task_join(burner, FTL_FOREVER, &outcome) == 0);
    return (void *)(intptr_t)(before != after);
}

static bool moves(bool migratable, int64_t burn)
{
    const struct ftl_spawn_options options = {.migratable = migratable};
    struct ftl_outcome outcome;
    struct ftl_task *task;
    int64_t until = ftl_deadline(burn);
    atomic_store(&done, false);
    ck_assert_int_eq(ftl_spawn(fixture_runtime, yield_to_a_burner, &until, &options, &task), 0);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    return outcome.value != NULL;
}

START_TEST(a_migratable_task_goes_where_there_is_room)
{
    /* The burner may have been stolen instead: then there is room where it is. */
    for (int i = 0; i < 100; i++)
        if (moves(true, 10 * unit_slow() * FTL_S))
            return;
    ck_abort_msg("it never moved");
}
END_TEST

START_TEST(a_pinned_task_waits_for_its_worker)
{
    for (int i = 0; i < 20; i++)
        ck_assert(!moves(false, 3 * FTL_MS));
}
END_TEST

/* ---- cases ---- */

static TCase *one_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, start, stop);
    suite_add_tcase(suite, tcase);
    return tcase;
}
#define ONE_CASE(suite, test) tcase_add_test(one_case((suite), #test), test)

static void add_cases(Suite *suite)
{
    TCase *ready = one_case(suite, "an_operation_that_is_always_ready_lets_a_sibling_run");
    tcase_add_loop_test(ready, an_operation_that_is_always_ready_lets_a_sibling_run, 0, OPERATIONS);
    ONE_CASE(suite, two_tasks_that_wake_each_other_do_not_starve_a_third);
    ONE_CASE(suite, a_chain_of_spawns_does_not_starve_a_task_that_yields);
    ONE_CASE(suite, a_busy_worker_looks_outside);
    FIXTURE_CASE(suite, a_migratable_task_goes_where_there_is_room);
    FIXTURE_CASE(suite, a_pinned_task_waits_for_its_worker);
}

UNIT_MAIN("fairness", add_cases)
