/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The kernel sends a child's death signal when the thread that has started it ends, not the
 * process. Workers and pool threads come and go, so one thread starts all children; it begins
 * with the first and lives as long as the runtime. The signal then means what it should: the
 * process is gone, however it went.
 *
 * Starts queue, first in, first out. Each takes that thread until the child executes its program;
 * who asks waits as for anything else, so that no worker stands still. */
#include "runtime/spawner.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include <fettle/task.h>
#include <fettle/time.h>

#include "runtime/worker.h"

/* With the lock held, which is dropped meanwhile. NULL: the runtime ends. */
static struct ftl__spawner_request *next(struct ftl__spawner *spawner)
{
    struct ftl__spawner_request *request;

    while ((request = spawner->first) == NULL && !spawner->stop) {
        uint32_t signal = atomic_load_explicit(&spawner->signal, memory_order_relaxed);
        ftl__lock_drop(&spawner->lock);
        ftl__futex_wait(&spawner->signal, signal, FTL_FOREVER);
        ftl__lock_take(&spawner->lock);
    }
    if (request != NULL)
        spawner->first = request->next;
    return request;
}

static void *spawner_main(void *arg)
{
    struct ftl__spawner *spawner = arg;
    struct ftl__spawner_request *request;

    ftl__lock_take(&spawner->lock);
    while ((request = next(spawner)) != NULL) {
        ftl__lock_drop(&spawner->lock);
        request->error = ftl__child_start(&request->child, spawner->stack, &request->pid);
        ftl_oneshot_send(&request->done, NULL); /* the last touch */
        ftl__lock_take(&spawner->lock);
    }
    ftl__lock_drop(&spawner->lock);
    return NULL;
}

/* With the lock held. 0 or an errno value. */
static int start_thread(struct ftl_runtime *runtime)
{
    struct ftl__spawner *spawner = &runtime->spawner;
    char name[24];
    int error;

    if (spawner->running)
        return 0;
    spawner->stack = mmap(NULL, FTL__CHILD_STACK, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (spawner->stack == MAP_FAILED)
        return errno;
    snprintf(name, sizeof name, "%.10s/spawn", runtime->name);
    error = ftl__thread_start(&spawner->thread, spawner_main, spawner, name);
    spawner->running = error == 0;
    if (error != 0)
        munmap(spawner->stack, FTL__CHILD_STACK);
    return error;
}

/* With the lock held. */
static void push(struct ftl__spawner *spawner, struct ftl__spawner_request *request)
{
    request->next = NULL;
    if (spawner->first != NULL)
        spawner->last->next = request;
    else
        spawner->first = request;
    spawner->last = request;
    /* relaxed: who sleeps on it looks again under the lock */
    atomic_fetch_add_explicit(&spawner->signal, 1, memory_order_relaxed);
}

int ftl__spawner_start_child(struct ftl_runtime *runtime, struct ftl__spawner_request *request)
{
    struct ftl__spawner *spawner = &runtime->spawner;
    void *nothing;
    int error, rc;

    ftl_oneshot_init(&request->done);
    ftl__lock_take(&spawner->lock);
    error = start_thread(runtime);
    if (error == 0)
        push(spawner, request);
    ftl__lock_drop(&spawner->lock);
    if (error != 0)
        return error;
    ftl__futex_wake(&spawner->signal, 1);
    ftl_mask(); /* the request is the other thread's until it has answered */
    rc = ftl_oneshot_recv(&request->done, FTL_FOREVER, &nothing);
    ftl_unmask();
    ftl_assert(rc == 0);
    return request->error;
}

void ftl__spawner_stop(struct ftl_runtime *runtime)
{
    struct ftl__spawner *spawner = &runtime->spawner;

    ftl__lock_take(&spawner->lock);
    spawner->stop = true;
    atomic_fetch_add_explicit(&spawner->signal, 1, memory_order_relaxed);
    ftl__lock_drop(&spawner->lock);
    if (!spawner->running)
        return;
    ftl__futex_wake(&spawner->signal, 1);
    pthread_join(spawner->thread, NULL);
    munmap(spawner->stack, FTL__CHILD_STACK);
}
