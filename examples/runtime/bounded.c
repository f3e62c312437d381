/* SPDX-License-Identifier: MIT
 *
 * Bounded concurrency: twenty downloads, at most three at a time.
 *
 * To see: whoever spawns waits for a permit first and moves it into the task, so that there are never
 * more than three tasks, not twenty of which seventeen wait. The permit comes back when its task
 * ends, however it ends: one of them panics on purpose. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include <fettle/runtime.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>
#include <fettle/time.h>

enum { PAGES = 20, AT_A_TIME = 3 };

struct page {
    int number;
};

static _Atomic int under_way, most, fetched;

static void leave(void *arg)
{
    (void)arg;
    atomic_fetch_sub(&under_way, 1);
}

static void *fetch(void *arg)
{
    const struct page *page = arg;
    int now = atomic_fetch_add(&under_way, 1) + 1, old = atomic_load(&most);
    FTL_DEFER(leave, NULL);
    while (now > old && !atomic_compare_exchange_weak(&most, &old, now))
        ;
    ftl_sleep(2 * FTL_MS); /* the network */
    if (page->number == 7)
        ftl_panic("page %d is broken", page->number);
    atomic_fetch_add(&fetched, 1);
    return NULL;
}

static void *fetch_all(void *arg)
{
    struct ftl_semaphore *slots = ftl_semaphore_new(AT_A_TIME);
    struct ftl_task_set *set = ftl_task_set_new();
    struct page pages[PAGES] = {0};
    struct ftl_outcome outcome;
    void *page;
    ftl_assert(slots && set);
    for (int i = 0; i < PAGES; i++) {
        FTL_PERMIT(slot);
        pages[i].number = i;
        ftl_assert(ftl_semaphore_acquire(slots, 1, FTL_FOREVER, &slot) == 0);
        const struct ftl_spawn_options options = {.name = "fetch", .permit = &slot};
        ftl_assert(ftl_task_set_spawn(set, ftl_runtime_current(), fetch, &pages[i], &options,
                                      &pages[i], NULL) == 0);
    }
    while (ftl_task_set_join_next(set, FTL_FOREVER, &outcome, &page) == 0) {
        if (outcome.kind == FTL_PANICKED)
            printf("page %d: %s\n", ((struct page *)page)->number, outcome.panic->message);
        ftl_outcome_clear(&outcome);
    }
    printf("%d of %d pages fetched, at most %d at a time, %u slots are free\n",
           atomic_load(&fetched), PAGES, atomic_load(&most), ftl_semaphore_available(slots));
    ftl_task_set_free(set);
    ftl_semaphore_free(slots);
    return arg;
}

int main(void)
{
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(NULL, &runtime) != 0 ||
        ftl_spawn(runtime, fetch_all, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
