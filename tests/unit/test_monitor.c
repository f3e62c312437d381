/* SPDX-License-Identifier: MIT
 *
 * Tasks that keep their worker: what they keep from others is done elsewhere, and somebody is
 * told. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include <fettle/channel.h>

#include "runtime/sanitizer.h"
#include "tests/unit/stuck.h"

/* ---- what a stuck worker has ---- */

static void *spawn_and_spin(void *arg)
{
    int tasks = *(int *)arg;
    for (int i = 0; i < tasks; i++)
        ftl_assert(ftl_spawn(runtime, count, NULL, NULL, NULL) == 0);
    until_ran(tasks);
    return NULL;
}

static void leaves_behind(int tasks)
{
    const struct ftl_runtime_options options = {.workers = 2};
    start(&options);
    int64_t begin = ftl_now();
    join(spawn(spawn_and_spin, &tasks));
    ck_assert_soon(begin, 100 * FTL_MS);
    stop();
}

START_TEST(the_task_that_would_run_next_runs_elsewhere)
{
    leaves_behind(1);
}
END_TEST

START_TEST(the_tasks_queued_behind_run_elsewhere)
{
    leaves_behind(200);
}
END_TEST

START_TEST(what_did_not_fit_runs_elsewhere)
{
    leaves_behind(2000);
}
END_TEST

static void *wait_and_count(void *arg)
{
    struct ftl_notify *notify = arg;
    ftl_assert(ftl_notify_wait(notify, FTL_FOREVER) == 0);
    return count(NULL);
}

static void *wake_and_spin(void *arg)
{
    const struct ftl_spawn_options migratable = {.migratable = true};
    struct ftl_notify *notify = arg;
    struct ftl_task *task;
    ftl_assert(ftl_spawn(runtime, wait_and_count, notify, &migratable, &task) == 0);
    ftl_assert(ftl_yield() == 0 && ftl_yield() == 0);
    ftl_notify_one(notify);
    until_ran(1);
    ftl_task_detach(task);
    return NULL;
}

START_TEST(a_migratable_task_that_was_woken_runs_elsewhere)
{
    const struct ftl_runtime_options options = {.workers = 2};
    struct ftl_notify *notify = ftl_notify_new();
    start(&options);
    ck_assert_ptr_nonnull(notify);
    join(spawn(wake_and_spin, notify));
    stop();
    ftl_notify_free(notify);
}
END_TEST

static void *stay(void *arg)
{
    struct ftl_notify *notify = arg;
    pthread_t thread = pthread_self();
    ftl_assert(ftl_notify_wait(notify, FTL_FOREVER) == 0);
    ftl_assert(pthread_equal(thread, pthread_self()));
    ftl_assert(atomic_load(&released));
    return NULL;
}

static void *wake_pinned_and_spin(void *arg)
{
    struct ftl_notify *notify = arg;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    ftl_assert(ftl_spawn(runtime, stay, notify, NULL, &task) == 0);
    ftl_assert(ftl_yield() == 0 && ftl_yield() == 0);
    ftl_notify_one(notify);
    ftl_assert(ftl_spawn(runtime, count, NULL, NULL, NULL) == 0);
    until_ran(1); /* on an extra worker */
    atomic_store(&released, true);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_COMPLETED);
    return NULL;
}

START_TEST(a_pinned_task_stays_where_it_is)
{
    const struct ftl_runtime_options options = {.workers = 1, .extra_workers = 4};
    struct ftl_notify *notify = ftl_notify_new();
    start(&options);
    ck_assert_ptr_nonnull(notify);
    join(spawn(wake_pinned_and_spin, notify));
    stop();
    ftl_notify_free(notify);
}
END_TEST

static void *cork_and_spin(void *arg)
{
    ftl_cork();
    for (int i = 0; i < 10; i++)
        ftl_assert(ftl_spawn(arg, count, NULL, NULL, NULL) == 0);
    until_ran(10);
    return NULL;
}

START_TEST(what_is_held_back_is_handed_over)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *other;
    start(&options);
    ck_assert_int_eq(ftl_runtime_start(&options, &other), 0);
    join(spawn(cork_and_spin, other));
    ck_assert_uint_eq(ftl_runtime_shutdown(other, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(other);
    stop();
}
END_TEST

/* The slot is filled, displaced and emptied by its owner and by the monitor at the same time:
 * nothing runs twice, nothing is lost. */
static void *storm(void *arg)
{
    int64_t until = ftl_deadline(300 * FTL_MS);
    int *spawned = arg;
    while (ftl_now() < until) {
        int64_t burst = ftl_deadline(5 * FTL_MS);
        do {
            ftl_assert(ftl_spawn(runtime, count, NULL, NULL, NULL) == 0);
            ++*spawned;
            for (int i = 0; i < *spawned % 1000; i++)
                __asm__ volatile("");
        } while (ftl_now() < burst);
        ftl_assert(ftl_yield() == 0);
    }
    return NULL;
}

START_TEST(owner_and_monitor_at_the_slot_together)
{
    const struct ftl_runtime_options options = {.workers = 2};
    int spawned[2] = {0};
    start(&options);
    struct ftl_task *a = spawn(storm, &spawned[0]), *b = spawn(storm, &spawned[1]);
    join(a);
    join(b);
    until_ran(spawned[0] + spawned[1]);
    stop();
}
END_TEST

START_TEST(timers_of_others_are_on_time)
{
    const struct ftl_runtime_options options = {.workers = 2};
    struct ftl_task *spinner;
    int64_t worst = 0, begin;
    start(&options);
    spin_on(1, &spinner);
    begin = ftl_now();
    join(spawn(sleep_often, &worst));
    ck_assert_soon(begin, 2 * FTL_S);
    atomic_store(&released, true);
    join(spinner);
    stop();
}
END_TEST

/* ---- the report ---- */

/* Without a call: in one, this function may be missing from the frames. */
static void *spin_until_reported(void *arg)
{
    while (atomic_load(&stall_count) == 0)
        ;
    int64_t more = ftl_deadline(50 * FTL_MS); /* not a second time */
    while (ftl_now() < more)
        ;
    return arg;
}

/* Among the frames is a place in `fn`, a function of this file. */
static void ck_assert_frames(const struct ftl_stall *stall, void *(*fn)(void *))
{
#ifndef FTL__TSAN
    bool found = false;
    uintptr_t from = (uintptr_t)fn;
    for (uint32_t i = 0; i < stall->frame_count; i++)
        found |= (uintptr_t)stall->frames[i] - from < 4096;
    ck_assert(found);
#else
    ck_assert_uint_eq(stall->frame_count, 0);
    (void)fn;
#endif
}

/* In calls that a signal would end early. */
static void *sleep_until_reported(void *arg)
{
    int64_t deadline = ftl_deadline(60 * FTL_S);
    while (atomic_load(&stall_count) == 0 && ftl_now() < deadline)
        ftl_assert(usleep(300 * 1000) == 0);
    return arg;
}

static void block_once(void)
{
    const struct ftl_runtime_options options = {
        .workers = 1, .stall_after = 20 * FTL_MS, .on_stall = on_stall};
    atomic_store(&stall_count, 0);
    start(&options);
    struct ftl_task *task = spawn(sleep_until_reported, NULL);
    join(task);
    ck_assert_int_eq(atomic_load(&stall_count), 1);
    stop();
}

START_TEST(one_that_blocks_is_reported_undisturbed)
{
    block_once();
    /* On a busy machine it may not have come to its call in these 20 ms. */
    for (int i = 0; i < 20 && stalls[0].frame_count != 1; i++)
        block_once();
    ck_assert_uint_eq(stalls[0].frame_count, 1);
}
END_TEST

static void spin_once(void)
{
    const struct ftl_runtime_options options = {
        .workers = 1, .stall_after = 20 * FTL_MS, .on_stall = on_stall};
    const struct ftl_spawn_options named = {.name = "spinner"};
    struct ftl_task *task;
    atomic_store(&stall_count, 0);
    start(&options);
    ck_assert_int_eq(ftl_spawn(runtime, spin_until_reported, &runtime, &named, &task), 0);
    join(task);
    ck_assert_int_eq(atomic_load(&stall_count), 1);
    ck_assert_int_ge(stalls[0].duration, 20 * FTL_MS);
    ck_assert_uint_eq(stalls[0].worker, 0);
    ck_assert_str_eq(stalls[0].task_name, "spinner");
    ck_assert_ptr_eq(stalls[0].task_arg, &runtime);
    ck_assert_uint_eq(stats().stalls, 1);
    stop();
}

/* On a loaded machine the thread may not come to tell its frames in time; not every time. */
START_TEST(a_stall_is_reported_once)
{
    int tries = 0;
    do
        spin_once();
    while (stalls[0].frame_count == 0 && ++tries < 50);
    ck_assert_frames(&stalls[0], spin_until_reported);
}
END_TEST

START_TEST(without_a_monitor_nothing_is_said_and_nobody_helps)
{
    const struct ftl_runtime_options options = {
        .workers = 1, .unmonitored = true, .stall_after = 1, .on_stall = on_stall};
    struct ftl_task *spinner;
    struct ftl_outcome outcome;
    atomic_store(&stall_count, 0);
    start(&options);
    spin_on(1, &spinner);
    struct ftl_task *task = spawn(count, NULL);
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(50 * FTL_MS), &outcome), FTL_ETIMEDOUT);
    atomic_store(&released, true);
    join(task);
    join(spinner);
    ck_assert_int_eq(atomic_load(&stall_count), 0);
    stop();
}
END_TEST

/* ---- threads ---- */

/* Calls each for every thread of the process whose name begins with `prefix`; the number. */
static int threads(const char *prefix, void (*each)(void *arg, const char *tid), void *arg)
{
    int found = 0;
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file)
            continue;
        if (fgets(name, sizeof name, file) && strncmp(name, prefix, strlen(prefix)) == 0) {
            found++;
            if (each)
                each(arg, entry->d_name);
        }
        fclose(file);
    }
    closedir(dir);
    return found;
}

START_TEST(threads_are_named_and_counted)
{
    const struct ftl_runtime_options first = {.name = "first", .workers = 3};
    const struct ftl_runtime_options second = {.name = "longer-than-ten", .workers = 2};
    struct ftl_runtime *other;
    start(&first);
    ck_assert_int_eq(ftl_runtime_start(&second, &other), 0);
    ck_assert_int_eq(threads("first/0\n", NULL, NULL), 1);
    ck_assert_int_eq(threads("first/2\n", NULL, NULL), 1);
    ck_assert_int_eq(threads("first/mon\n", NULL, NULL), 1);
    ck_assert_int_eq(threads("first/", NULL, NULL), 4);
    ck_assert_int_eq(threads("longer-tha/", NULL, NULL), 3);
    ck_assert_uint_eq(ftl_runtime_workers(runtime), 3);
    ck_assert_uint_eq(ftl_runtime_shutdown(other, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(other);
    ck_assert_int_eq(threads("longer-tha/", NULL, NULL), 0);
    stop();
    ck_assert_int_eq(threads("first/", NULL, NULL), 0);
}
END_TEST

static void add_switches(void *arg, const char *tid)
{
    long *sum = arg, n;
    char path[300], line[128];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
            *sum += n;
    fclose(file);
}

START_TEST(an_idle_runtime_sleeps)
{
    const struct ftl_runtime_options options = {.name = "idle", .workers = 2};
    long before = -1, after = 0, tries = 0;
    start(&options);
    join(spawn(count, NULL));
    /* It falls asleep some looks after its workers; then nothing of it wakes. */
    while (before != after && tries++ < 100) {
        before = after = 0;
        threads("idle/", add_switches, &before);
        usleep(200 * 1000);
        threads("idle/", add_switches, &after);
    }
    ck_assert_int_eq(before, after);
    join(spawn(count, NULL));
    stop();
}
END_TEST

START_TEST(shutdown_says_who_is_left)
{
    const struct ftl_runtime_options options = {.workers = 2};
    struct ftl_task *spinners[2];
    start(&options);
    spin_on(2, spinners);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(20 * FTL_MS)), 2);
    atomic_store(&released, true);
    join(spinners[0]);
    join(spinners[1]);
    stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, the_task_that_would_run_next_runs_elsewhere);
    UNIT_CASE(suite, the_tasks_queued_behind_run_elsewhere);
    UNIT_CASE(suite, what_did_not_fit_runs_elsewhere);
    UNIT_CASE(suite, a_migratable_task_that_was_woken_runs_elsewhere);
    UNIT_CASE(suite, a_pinned_task_stays_where_it_is);
    UNIT_CASE(suite, what_is_held_back_is_handed_over);
    UNIT_CASE(suite, owner_and_monitor_at_the_slot_together);
    UNIT_CASE(suite, timers_of_others_are_on_time);
    UNIT_CASE(suite, a_stall_is_reported_once);
    UNIT_CASE(suite, one_that_blocks_is_reported_undisturbed);
    UNIT_CASE(suite, without_a_monitor_nothing_is_said_and_nobody_helps);
    UNIT_CASE(suite, threads_are_named_and_counted);
    UNIT_CASE(suite, an_idle_runtime_sleeps);
    UNIT_CASE(suite, shutdown_says_who_is_left);
}

UNIT_MAIN("monitor", add_cases)
