/* SPDX-License-Identifier: MIT
 *
 * Everything that waits, by one table: woken from each side, ended by a deadline, by an abort with
 * and without grace, under a mask; and nothing that was granted is lost. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <fettle/channel.h>
#include <fettle/io.h>
#include <fettle/mutex.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static struct ftl_runtime *other;

static void start(void)
{
    const struct ftl_runtime_options options = {.name = "other", .workers = 1};
    fixture_start();
    ck_assert_int_eq(ftl_runtime_start(&options, &other), 0);
}

static void stop(void)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(other, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(other);
    fixture_stop();
}

/* ---- the primitives ---- */

/* make: not ready. wait: what it would say. wake: lets exactly one wait succeed, whenever. */
struct primitive {
    const char *name;
    void (*make)(void);
    int (*wait)(int64_t deadline);
    void (*wake)(void);
    void (*unmake)(void);
};

static struct ftl_oneshot gate;
static struct ftl_task *joined;
static struct ftl_task_set *set;
static struct ftl_semaphore *semaphore;
static struct ftl_channel *channel;
static struct ftl_oneshot oneshot;
static struct ftl_notify *notify;
static struct ftl_fd *reader;
static int writer;

static void *await_gate(void *arg)
{
    void *nothing;
    ftl_mask(); /* the shutdown of a test that failed */
    (void)ftl_oneshot_recv(&gate, ftl_deadline(60 * unit_slow() * FTL_S), &nothing);
    return arg;
}

static void open_gate(void)
{
    ftl_oneshot_send(&gate, NULL);
}

static void make_join(void)
{
    ftl_oneshot_init(&gate);
    joined = fixture_spawn(await_gate, &gate);
}

static int wait_join(int64_t deadline)
{
    struct ftl_outcome outcome;
    int rc = ftl_task_join(joined, deadline, &outcome);
    if (rc == 0)
        ftl_outcome_clear(&outcome);
    return rc;
}

static void make_set(void)
{
    ftl_oneshot_init(&gate);
    set = ftl_task_set_new();
    ck_assert_int_eq(ftl_task_set_spawn(set, other, await_gate, &gate, NULL, NULL, NULL), 0);
}

static int wait_set(int64_t deadline)
{
    struct ftl_outcome outcome;
    int rc = ftl_task_set_join_next(set, deadline, &outcome, NULL);
    if (rc == 0)
        ftl_outcome_clear(&outcome);
    return rc;
}

static void unmake_set(void)
{
    ftl_task_set_free(set);
}

static void make_semaphore(void)
{
    semaphore = ftl_semaphore_new(1);
}

/* Two of one: the other one comes by wake(), and goes again. */
static int wait_semaphore(int64_t deadline)
{
    FTL_PERMIT(permit);
    int rc = ftl_semaphore_acquire(semaphore, 2, deadline, &permit);
    if (rc == 0)
        ftl_semaphore_adjust(semaphore, -1);
    return rc;
}

static void wake_semaphore(void)
{
    ftl_semaphore_adjust(semaphore, 1);
}

static void unmake_semaphore(void)
{
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1);
    ftl_semaphore_free(semaphore);
}

/* Held by this thread until wake(), which may be called anywhere. */
static struct ftl_mutex *mutex;
static struct ftl_permit held;

static void make_mutex(void)
{
    mutex = ftl_mutex_new();
    ck_assert_int_eq(ftl_mutex_try_lock(mutex, &held), 0);
}

static int wait_mutex(int64_t deadline)
{
    FTL_PERMIT(mine);
    return ftl_mutex_lock(mutex, deadline, &mine);
}

static void wake_mutex(void)
{
    ftl_mutex_unlock(&held);
}

static void unmake_mutex(void)
{
    ck_assert(!ftl_mutex_is_locked(mutex));
    ftl_mutex_free(mutex);
}

static void make_channel(void)
{
    channel = ftl_channel_new(1, NULL);
}

static int wait_recv(int64_t deadline)
{
    void *message = NULL;
    int rc = ftl_channel_recv(channel, deadline, &message);
    ftl_assert(rc != 0 || message == &channel);
    return rc;
}

static void wake_recv(void)
{
    ck_assert_int_eq(ftl_channel_try_send(channel, &channel), 0);
}

static void make_full_channel(void)
{
    make_channel();
    wake_recv();
}

static int wait_send(int64_t deadline)
{
    return ftl_channel_send(channel, &channel, deadline);
}

static void wake_send(void)
{
    void *message;
    ck_assert_int_eq(ftl_channel_try_recv(channel, &message), 0);
}

static void unmake_channel(void)
{
    ftl_channel_unref(channel);
}

static void make_oneshot(void)
{
    ftl_oneshot_init(&oneshot);
}

static int wait_oneshot(int64_t deadline)
{
    void *value = NULL;
    int rc = ftl_oneshot_recv(&oneshot, deadline, &value);
    ftl_assert(rc != 0 || value == &oneshot);
    return rc;
}

static void wake_oneshot(void)
{
    ftl_oneshot_send(&oneshot, &oneshot);
}

static void make_notify(void)
{
    notify = ftl_notify_new();
}

static int wait_notify(int64_t deadline)
{
    return ftl_notify_wait(notify, deadline);
}

static void wake_notify(void)
{
    ftl_notify_one(notify);
}

static void unmake_notify(void)
{
    ftl_notify_free(notify);
}

static void make_fd(void)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(ftl_fd_open(fixture_runtime, ends[0], &reader), 0);
    writer = ends[1];
}

static int wait_fd(int64_t deadline)
{
    char byte;
    ssize_t n = ftl_fd_read(reader, &byte, 1, deadline, NULL);
    return n == 1 ? 0 : (int)n;
}

/* The descriptor is not asked before its edge has come. */
static int wait_edge(int64_t deadline)
{
    char byte;
    int rc;
    do
        rc = ftl_fd_wait(reader, FTL_READ, deadline);
    while (rc == 0 && read(ftl_fd_number(reader), &byte, 1) < 0);
    return rc;
}

static void wake_fd(void)
{
    ck_assert_int_eq(write(writer, "x", 1), 1);
}

static void unmake_fd(void)
{
    ftl_fd_close(reader);
    close(writer);
}

static void unmake_nothing(void)
{
}

static const struct primitive primitives[] = {
    {"join", make_join, wait_join, open_gate, unmake_nothing},
    {"set", make_set, wait_set, open_gate, unmake_set},
    {"semaphore", make_semaphore, wait_semaphore, wake_semaphore, unmake_semaphore},
    {"mutex", make_mutex, wait_mutex, wake_mutex, unmake_mutex},
    {"recv", make_channel, wait_recv, wake_recv, unmake_channel},
    {"send", make_full_channel, wait_send, wake_send, unmake_channel},
    {"oneshot", make_oneshot, wait_oneshot, wake_oneshot, unmake_nothing},
    {"notify", make_notify, wait_notify, wake_notify, unmake_notify},
    {"fd", make_fd, wait_fd, wake_fd, unmake_fd},
    {"edge", make_fd, wait_edge, wake_fd, unmake_fd},
};
enum { PRIMITIVES = sizeof primitives / sizeof primitives[0] };

/* ---- who waits ---- */

static _Atomic int deferred;

static void count_deferred(void *arg)
{
    (void)arg;
    atomic_fetch_add(&deferred, 1);
}

/* Its value is what the wait said. */
static void *waits(void *primitive)
{
    FTL_DEFER(count_deferred, NULL);
    return (void *)(intptr_t)((const struct primitive *)primitive)->wait(FTL_FOREVER);
}

static void see_suspended(void *arg, const char *name, uint64_t id, void *const *frames,
                          size_t frame_count)
{
    (void)id, (void)frames;
    *(bool *)arg |= name && strcmp(name, "waiter") == 0 && frame_count > 0;
}

static struct ftl_task *spawn_waiter(ftl_task_fn fn, const struct primitive *primitive)
{
    const struct ftl_spawn_options options = {.name = "waiter"};
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(fixture_runtime, fn, (void *)(uintptr_t)primitive, &options, &task),
                     0);
    return task;
}

static void await_suspended(void)
{
    bool suspended = false;
    while (!suspended)
        ftl_runtime_dump(fixture_runtime, see_suspended, &suspended);
}

static struct ftl_task *waiting(ftl_task_fn fn, const struct primitive *primitive)
{
    struct ftl_task *task = spawn_waiter(fn, primitive);
    await_suspended();
    return task;
}

static int64_t soon(void)
{
    return ftl_deadline(60 * unit_slow() * FTL_S);
}

static struct ftl_outcome outcome_of(struct ftl_task *task, const struct primitive *primitive)
{
    struct ftl_outcome outcome = {0};
    ck_assert_msg(ftl_task_join(task, soon(), &outcome) == 0, "%s: hangs", primitive->name);
    ck_assert_msg(outcome.kind != FTL_PANICKED, "%s: %s", primitive->name,
                  outcome.panic ? outcome.panic->message : "");
    return outcome;
}

static void expect(const struct primitive *primitive, int rc, int expected)
{
    ck_assert_msg(rc == expected, "%s: %s instead of %s", primitive->name, ftl_error_name(rc),
                  ftl_error_name(expected));
}

/* ---- woken ---- */

static void *wakes(void *primitive)
{
    ((const struct primitive *)primitive)->wake();
    return NULL;
}

static void wake_from(int side, const struct primitive *primitive)
{
    struct ftl_runtime *const runtimes[] = {fixture_runtime, other};
    struct ftl_task *task;
    if (side == 2) {
        primitive->wake();
        return;
    }
    ck_assert_int_eq(
        ftl_spawn(runtimes[side], wakes, (void *)(uintptr_t)primitive, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
}

START_TEST(a_task_is_woken_from_its_runtime_another_and_a_thread)
{
    const struct primitive *primitive = &primitives[_i];
    for (int side = 0; side < 3; side++) {
        primitive->make();
        struct ftl_task *task = waiting(waits, primitive);
        wake_from(side, primitive);
        expect(primitive, (int)(intptr_t)outcome_of(task, primitive).value, 0);
        primitive->unmake();
    }
}
END_TEST

static void *thread_waits(void *primitive)
{
    return (void *)(intptr_t)((const struct primitive *)primitive)->wait(soon());
}

START_TEST(a_thread_is_woken_from_a_runtime_and_a_thread)
{
    const struct primitive *primitive = &primitives[_i];
    for (int side = 0; side < 3; side++) {
        pthread_t thread;
        void *rc;
        primitive->make();
        ck_assert_int_eq(
            pthread_create(&thread, NULL, thread_waits, (void *)(uintptr_t)primitive), 0);
        wake_from(side, primitive);
        pthread_join(thread, &rc);
        expect(primitive, (int)(intptr_t)rc, 0);
        primitive->unmake();
    }
}
END_TEST

/* ---- deadlines ---- */

static void *waits_in_vain(void *arg)
{
    const struct primitive *primitive = arg;
    int64_t deadline = ftl_deadline(3 * FTL_MS);
    int rc = primitive->wait(deadline);
    if (rc != FTL_ETIMEDOUT || ftl_now() < deadline)
        ftl_panic("%s at its deadline: %s", primitive->name, ftl_error_name(rc));
    rc = primitive->wait(ftl_now() - FTL_S);
    if (rc != FTL_ETIMEDOUT)
        ftl_panic("%s after its deadline: %s", primitive->name, ftl_error_name(rc));
    return NULL;
}

START_TEST(a_deadline_ends_a_wait_and_takes_nothing)
{
    const struct primitive *primitive = &primitives[_i];
    primitive->make();
    outcome_of(spawn_waiter(waits_in_vain, primitive), primitive);
    expect(primitive, primitive->wait(ftl_deadline(3 * FTL_MS)), FTL_ETIMEDOUT);
    primitive->wake();
    expect(primitive, primitive->wait(soon()), 0);
    primitive->unmake();
}
END_TEST

/* ---- aborts ---- */

START_TEST(an_abort_ends_a_wait_and_takes_nothing)
{
    const struct primitive *primitive = &primitives[_i];
    primitive->make();
    atomic_store(&deferred, 0);
    struct ftl_task *task = waiting(waits, primitive);
    ftl_abort(task, 0);
    ck_assert_int_eq(outcome_of(task, primitive).kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&deferred), 1);
    primitive->wake();
    expect(primitive, primitive->wait(soon()), 0);
    primitive->unmake();
}
END_TEST

static void *waits_twice(void *arg)
{
    const struct primitive *primitive = arg;
    int rc = primitive->wait(FTL_FOREVER);
    if (rc == FTL_ECANCELED)
        rc = primitive->wait(soon());
    return (void *)(intptr_t)rc;
}

START_TEST(during_the_grace_a_wait_returns_cancelled_and_takes_nothing)
{
    const struct primitive *primitive = &primitives[_i];
    primitive->make();
    struct ftl_task *task = waiting(waits_twice, primitive);
    ftl_abort(task, 1000 * FTL_S);
    struct ftl_outcome outcome = outcome_of(task, primitive);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    expect(primitive, (int)(intptr_t)outcome.value, FTL_ECANCELED);
    primitive->wake();
    expect(primitive, primitive->wait(soon()), 0);
    primitive->unmake();
}
END_TEST

static void *waits_after_its_abort(void *arg)
{
    FTL_DEFER(count_deferred, NULL);
    ftl_abort(ftl_task_current(), 0);
    ((const struct primitive *)arg)->wait(FTL_FOREVER);
    ftl_panic("an aborted task went on");
}

START_TEST(a_wait_that_begins_after_the_abort_does_not_return)
{
    const struct primitive *primitive = &primitives[_i];
    primitive->make();
    atomic_store(&deferred, 0);
    struct ftl_task *task = spawn_waiter(waits_after_its_abort, primitive);
    ck_assert_int_eq(outcome_of(task, primitive).kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&deferred), 1);
    primitive->wake();
    expect(primitive, primitive->wait(soon()), 0);
    primitive->unmake();
}
END_TEST

static void *waits_masked(void *arg)
{
    ftl_mask();
    int rc = ((const struct primitive *)arg)->wait(FTL_FOREVER);
    ftl_unmask();
    return (void *)(intptr_t)rc;
}

START_TEST(a_masked_wait_ends_when_it_is_woken)
{
    const struct primitive *primitive = &primitives[_i];
    primitive->make();
    struct ftl_task *task = waiting(waits_masked, primitive);
    ftl_abort(task, 0);
    await_suspended(); /* again */
    ck_assert(!ftl_task_is_finished(task));
    primitive->wake();
    struct ftl_outcome outcome = outcome_of(task, primitive);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED); /* it waited for nothing more */
    expect(primitive, (int)(intptr_t)outcome.value, 0);
    primitive->unmake();
}
END_TEST

/* Whoever is first: the task has it, or it is still there. */
START_TEST(nothing_is_lost_when_an_abort_meets_a_wake_up)
{
    enum { ROUNDS = 200 };
    const struct primitive *primitive = &primitives[_i];
    unsigned seed = (unsigned)getpid();
    printf("# %s, seed %u\n", primitive->name, seed);
    for (int i = 0; i < ROUNDS; i++) {
        primitive->make();
        struct ftl_task *task = spawn_waiter(waits, primitive), *waker;
        ck_assert_int_eq(ftl_spawn(other, wakes, (void *)(uintptr_t)primitive, NULL, &waker), 0);
        for (volatile int pause = rand_r(&seed) % 3000; pause > 0;)
            pause = pause - 1;
        ftl_abort(task, 0);
        ck_assert_int_eq(fixture_join(waker), FTL_COMPLETED);
        if (outcome_of(task, primitive).kind == FTL_CANCELLED)
            expect(primitive, primitive->wait(soon()), 0);
        primitive->unmake();
    }
}
END_TEST

/* ---- sleep: there is nothing that wakes it ---- */

static void *sleeps(void *arg)
{
    FTL_DEFER(count_deferred, NULL);
    ftl_abort(ftl_task_current(), *(int64_t *)arg);
    ftl_assert(ftl_sleep(1000 * FTL_S) == FTL_ECANCELED);
    ftl_assert(ftl_sleep_until(0) == FTL_ECANCELED);
    return arg;
}

START_TEST(a_sleep_is_a_wait)
{
    int64_t graces[] = {0, 1000 * FTL_S};
    atomic_store(&deferred, 0);
    ck_assert_int_eq(fixture_join(fixture_spawn(sleeps, &graces[0])), FTL_CANCELLED);
    ck_assert_int_eq(fixture_join(fixture_spawn(sleeps, &graces[1])), FTL_COMPLETED);
    ck_assert_int_eq(atomic_load(&deferred), 2);
    int64_t before = ftl_now();
    ck_assert_int_eq(ftl_sleep(2 * FTL_MS), 0); /* a thread's */
    ck_assert_int_ge(ftl_now(), before + 2 * FTL_MS);
}
END_TEST

/* Once for each primitive. */
static void each_case(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_loop_test(tcase, test, 0, PRIMITIVES);
    suite_add_tcase(suite, tcase);
}
#define EACH_CASE(suite, test) each_case((suite), #test, (test))

static void add_cases(Suite *suite)
{
    EACH_CASE(suite, a_task_is_woken_from_its_runtime_another_and_a_thread);
    EACH_CASE(suite, a_thread_is_woken_from_a_runtime_and_a_thread);
    EACH_CASE(suite, a_deadline_ends_a_wait_and_takes_nothing);
    EACH_CASE(suite, an_abort_ends_a_wait_and_takes_nothing);
    EACH_CASE(suite, during_the_grace_a_wait_returns_cancelled_and_takes_nothing);
    EACH_CASE(suite, a_wait_that_begins_after_the_abort_does_not_return);
    EACH_CASE(suite, a_masked_wait_ends_when_it_is_woken);
    EACH_CASE(suite, nothing_is_lost_when_an_abort_meets_a_wake_up);
    FIXTURE_CASE(suite, a_sleep_is_a_wait);
}

UNIT_MAIN("waits", add_cases)
