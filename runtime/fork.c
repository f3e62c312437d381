/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The handler that runs in a forked child, installed once: if there are runtimes, the thread that
 * has forked is no worker any more, and each way into a runtime finds that out
 * (ftl__worker_current() where it has none, and the return of a task's function). A child that only
 * executes another program never notices. */
#include "runtime/fork.h"

#include <pthread.h>

#include "runtime/worker.h"

_Atomic bool ftl__forked;
static _Atomic unsigned runtimes;
static int install_error;

static void in_child(void)
{
    if (atomic_load_explicit(&runtimes, memory_order_relaxed) == 0)
        return;
    ftl__worker_set_current(NULL);
    atomic_store_explicit(&ftl__forked, true, memory_order_relaxed);
}

static void install(void)
{
    install_error = pthread_atfork(NULL, NULL, in_child);
}

int ftl__fork_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    if (install_error == 0)
        atomic_fetch_add_explicit(&runtimes, 1, memory_order_relaxed);
    return install_error;
}

void ftl__fork_end(void)
{
    atomic_fetch_sub_explicit(&runtimes, 1, memory_order_relaxed);
}
