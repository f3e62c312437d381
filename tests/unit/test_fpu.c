/* SPDX-License-Identifier: MIT
 *
 * The floating-point control words of a task (x87 and MXCSR on x86-64, FPCR on aarch64) are its
 * own: they stay as it set them across each kind of wait, on whichever worker it goes on. */
#include <fenv.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include <fettle/channel.h>
#include <fettle/io.h>
#include <fettle/mutex.h>

#include "tests/unit/task_fixture.h"

struct words {
    uint32_t first, second;
};

#if defined __x86_64__

/* MXCSR without its flags, which are no control bits, and the x87 control word. */
static struct words read_words(void)
{
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
    return (struct words){mxcsr & ~UINT32_C(0x3f), x87};
}

static void write_words(struct words words)
{
    uint16_t x87 = (uint16_t)words.second;
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(words.first), "m"(x87));
}

/* Toward zero, subnormals flushed / double precision, rounding up: one differs at a time, too. */
static const struct words modes[] = {{0xff80, 0x037f}, {0x1f80, 0x0a7f}, {0xbf80, 0x067f}};

#else

static struct words read_words(void)
{
    return (struct words){(uint32_t)fegetround(), 0};
}

static void write_words(struct words words)
{
    ftl_assert(fesetround((int)words.first) == 0);
}

static const struct words modes[] = {{FE_UPWARD, 0}, {FE_DOWNWARD, 0}, {FE_TOWARDZERO, 0}};

#endif

enum { MODES = sizeof modes / sizeof modes[0], ROUNDS = 400 };

static void expect(struct words words)
{
    struct words now = read_words();
    ftl_assert(now.first == words.first && now.second == words.second);
}

static void *identity(void *arg)
{
    return arg;
}

static void wait_in_each_way(struct words words)
{
    struct ftl_outcome outcome;
    struct ftl_task *task;
    struct ftl_oneshot never;
    struct ftl_mutex *mutex = ftl_mutex_new();
    FTL_PERMIT(held);
    FTL_FD(from);
    FTL_FD(to);
    void *nothing;
    char byte;
    ftl_assert(mutex && ftl_pipe(ftl_runtime_current(), &from, &to) == 0);
    ftl_oneshot_init(&never);
    ftl_yield();
    expect(words);
    ftl_sleep(FTL_MS);
    expect(words);
    ftl_assert(ftl_spawn(ftl_runtime_current(), identity, NULL, NULL, &task) == 0);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    expect(words);
    ftl_assert(ftl_oneshot_recv(&never, ftl_deadline(FTL_MS), &nothing) == FTL_ETIMEDOUT);
    expect(words);
    ftl_assert(ftl_fd_read(from, &byte, 1, ftl_deadline(FTL_MS), NULL) == FTL_ETIMEDOUT);
    expect(words);
    ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &held) == 0);
    ftl_mutex_unlock(&held);
    ftl_mutex_free(mutex);
    expect(words);
}

static void *wait_with_words(void *arg)
{
    const struct words *words = arg, begin = read_words();
    write_words(*words);
    for (int i = 0; i < 5; i++)
        wait_in_each_way(*words);
    write_words(begin);
    return NULL;
}

START_TEST(control_words_stay_across_each_kind_of_wait)
{
    struct ftl_task *tasks[4 * MODES];
    for (int i = 0; i < 4 * MODES; i++)
        tasks[i] = fixture_spawn(wait_with_words, (void *)(uintptr_t)&modes[i % MODES]);
    for (int i = 0; i < 4 * MODES; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

/* Two that keep a worker each wake the traveller in turn; it goes on where it was woken. */
struct journey {
    struct words words;
    _Atomic int senders, turn;
    struct ftl_oneshot tickets[ROUNDS];
    pid_t seen[2];
};

struct sender {
    struct journey *journey;
    int index;
};

static void *send_tickets(void *arg)
{
    struct sender *sender = arg;
    struct journey *journey = sender->journey;
    struct words own = read_words();
    atomic_fetch_add(&journey->senders, 1);
    while (atomic_load(&journey->senders) < 2)
        sched_yield(); /* of the thread: the other one comes to run on the other worker */
    for (int i = sender->index; i < ROUNDS; i += 2) {
        while (atomic_load(&journey->turn) < i)
            ftl_yield();
        ftl_oneshot_send(&journey->tickets[i], NULL);
        ftl_yield();
        expect(own);
    }
    return NULL;
}

static void *travel(void *arg)
{
    struct journey *journey = arg;
    void *nothing;
    struct words begin = read_words();
    write_words(journey->words);
    for (int i = 0; i < ROUNDS; i++) {
        atomic_store(&journey->turn, i);
        ftl_assert(ftl_oneshot_recv(&journey->tickets[i], FTL_FOREVER, &nothing) == 0);
        expect(journey->words);
        pid_t here = gettid();
        if (!journey->seen[0])
            journey->seen[0] = here;
        else if (here != journey->seen[0])
            journey->seen[1] = here;
    }
    write_words(begin);
    return NULL;
}

START_TEST(control_words_go_along_to_another_worker)
{
    for (int mode = 0; mode < MODES; mode++) {
        static struct journey journey;
        const struct ftl_spawn_options migratable = {.migratable = true};
        struct sender senders[2] = {{&journey, 0}, {&journey, 1}};
        struct ftl_task *tasks[3];
        journey = (struct journey){.words = modes[mode], .turn = -1};
        for (int i = 0; i < 2; i++)
            tasks[i] = fixture_spawn(send_tickets, &senders[i]);
        ck_assert_int_eq(ftl_spawn(fixture_runtime, travel, &journey, &migratable, &tasks[2]), 0);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
        ck_assert_int_ne(journey.seen[1], 0); /* it has travelled */
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, control_words_stay_across_each_kind_of_wait);
    FIXTURE_CASE(suite, control_words_go_along_to_another_worker);
}

UNIT_MAIN("fpu", add_cases)
