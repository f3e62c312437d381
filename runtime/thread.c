/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The thread-local variables of the runtime, all of them. A task may go on on another thread after
 * each wait, and compilers keep addresses of thread-local variables across calls; so they are
 * reached only through these functions, which are never inlined, each time anew. Must not be built
 * with LTO. TSan does not look: it takes the start of a thread whose memory was another's for a
 * write that races with the strands which run there. */
#include "runtime/fork.h"
#include "runtime/worker.h"

#define LOCAL static __thread __attribute__((tls_model("initial-exec")))

LOCAL struct ftl__worker *current;
LOCAL struct ftl__strand own;

FTL__UNSEEN __attribute__((noinline)) struct ftl__worker *ftl__worker_current(void)
{
    struct ftl__worker *worker = current;
    __asm__ volatile("" : "+r"(worker)); /* not a pure function */
    if (!worker)
        ftl__fork_check();
    return worker;
}

FTL__UNSEEN __attribute__((noinline)) void ftl__worker_set_current(struct ftl__worker *worker)
{
    current = worker;
}

FTL__UNSEEN __attribute__((noinline)) struct ftl__strand *ftl__thread_strand(void)
{
    struct ftl__strand *strand = &own;
    __asm__ volatile("" : "+r"(strand));
    return strand;
}
