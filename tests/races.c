/* SPDX-License-Identifier: MIT
 *
 * What tests/races.sh runs under ThreadSanitizer: races NAME WORKERS does a thing with tasks that
 * is a data race, or is none. */
#include <stdlib.h>
#include <string.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

enum { TASKS = 8, ROUNDS = 100 };

static int counter; /* plain, whoever counts */

static void must(int rc)
{
    if (rc != 0)
        abort();
}

static struct ftl_task *spawn(ftl_task_fn fn, void *arg)
{
    struct ftl_task *task;
    must(ftl_spawn(ftl_runtime_current(), fn, arg, NULL, &task));
    return task;
}

static void join(struct ftl_task *task)
{
    struct ftl_outcome outcome;
    must(ftl_task_join(task, FTL_FOREVER, &outcome));
    if (outcome.kind != FTL_COMPLETED)
        abort();
}

static void *count(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        counter++;
        must(ftl_yield());
    }
    return arg;
}

/* Nothing orders two tasks that were spawned one after the other, on however many threads. */
static void *planted(void *arg)
{
    struct ftl_task *tasks[TASKS];
    for (int i = 0; i < TASKS; i++)
        tasks[i] = spawn(count, NULL);
    for (int i = 0; i < TASKS; i++)
        join(tasks[i]);
    return arg;
}

static void *count_once(void *arg)
{
    counter++;
    return arg;
}

/* Spawning orders, and so does joining. */
static void *spawned_and_joined(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        counter++;
        join(spawn(count_once, NULL));
    }
    return arg;
}

struct turns {
    struct ftl_oneshot there, back;
};

static void *answer(void *arg)
{
    struct turns *turns = arg;
    void *value;
    must(ftl_oneshot_recv(&turns->there, FTL_FOREVER, &value));
    counter++;
    ftl_oneshot_send(&turns->back, NULL);
    return NULL;
}

/* Whoever was woken comes after who woke it. */
static void *woken(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct turns turns;
        void *value;
        ftl_oneshot_init(&turns.there);
        ftl_oneshot_init(&turns.back);
        struct ftl_task *task = spawn(answer, &turns);
        must(ftl_yield());
        counter++;
        ftl_oneshot_send(&turns.there, NULL);
        must(ftl_oneshot_recv(&turns.back, FTL_FOREVER, &value));
        counter++;
        join(task);
    }
    return arg;
}

/* A waiting task is the same after the wait, on whichever thread it goes on. */
static void *count_own(void *arg)
{
    int own = 0;
    for (int i = 0; i < ROUNDS; i++) {
        own++;
        must(i % 2 ? ftl_yield() : ftl_sleep(1));
    }
    if (own != ROUNDS)
        abort();
    return arg;
}

static void *migrated(void *arg)
{
    const struct ftl_spawn_options options = {.migratable = true};
    struct ftl_task *tasks[TASKS];
    for (int i = 0; i < TASKS; i++)
        must(ftl_spawn(ftl_runtime_current(), count_own, NULL, &options, &tasks[i]));
    for (int i = 0; i < TASKS; i++)
        join(tasks[i]);
    return arg;
}

struct thing {
    const char *name;
    ftl_task_fn fn;
    bool serial;
};

static const struct thing things[] = {{"planted", planted, false},
              {"planted_serial", planted, true},
              {"spawned_and_joined", spawned_and_joined, false},
              {"woken", woken, false},
              {"migrated", migrated, false}};

int main(int argc, char **argv)
{
    struct ftl_runtime_options options = {.name = "races"};
    struct ftl_runtime *runtime;
    struct ftl_outcome outcome;
    struct ftl_task *task;
    size_t i = 0;
    if (argc != 3)
        return 2;
    while (strcmp(things[i].name, argv[1]) != 0)
        if (++i == sizeof things / sizeof things[0])
            return 2;
    options.workers = (unsigned)atoi(argv[2]);
    options.serial = things[i].serial;
    must(ftl_runtime_start(&options, &runtime));
    must(ftl_spawn(runtime, things[i].fn, NULL, NULL, &task));
    must(ftl_task_join(task, FTL_FOREVER, &outcome));
    if (outcome.kind != FTL_COMPLETED || ftl_runtime_shutdown(runtime, FTL_FOREVER) != 0)
        return 1;
    ftl_runtime_free(runtime);
    return 0;
}
