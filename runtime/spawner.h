/* SPDX-License-Identifier: MIT
 *
 * The spawner of a runtime: the one thread that starts its child processes. */
#ifndef FETTLE_RUNTIME_SPAWNER_H
#define FETTLE_RUNTIME_SPAWNER_H

#include <pthread.h>
#include <stdatomic.h>

#include <fettle/channel.h>

#include "runtime/child.h"
#include "runtime/futex.h"

struct ftl_runtime;

/* One start; its owner's, who waits for it. */
struct ftl__spawner_request {
    struct ftl__child child;
    struct ftl__spawner_request *next;
    struct ftl_oneshot done;
    pid_t pid;
    int error; /* 0 or an errno value */
};

struct ftl__spawner {
    struct ftl__lock lock; /* guards all below but `signal` */
    struct ftl__spawner_request *first, *last;
    bool running, stop;
    pthread_t thread;
    void *stack; /* of a child that has not executed its program yet */
    _Atomic uint32_t signal; /* futex word: changes when there is something to look at */
};

/* Starts request->child, and waits for that whatever happens to the caller: from a task, or from a
 * foreign thread. The first one starts the thread. 0 and request->pid, or an errno value. */
int ftl__spawner_start_child(struct ftl_runtime *runtime, struct ftl__spawner_request *request);

/* Ends the thread, and with it every child that is left. Nobody starts one meanwhile. */
void ftl__spawner_stop(struct ftl_runtime *runtime);

#endif
