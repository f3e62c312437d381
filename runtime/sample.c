/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A thread that computes is asked by a signal: SIGURG, which is ignored by default, so that one that
 * comes late or goes astray does no harm (Go's runtime chose it for that too). Its handler walks
 * the frame pointers of the strand's stack from the interrupted place, and passes what is not ours
 * on to the handler that was there before. It calls nothing but futex(2).
 *
 * A thread that stands in a system call is not disturbed: some calls (nanosleep, poll) return EINTR after
 * any handler, SA_RESTART or not. The kernel tells where it stands (/proc/self/task/TID/syscall): the
 * one frame that is reported then. Under ThreadSanitizer, which holds signals back, and where /proc
 * does not tell, no frames are reported. */
#include "runtime/sample.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fettle/time.h>

#include "runtime/context.h"
#include "runtime/worker.h"

enum { IDLE, ASKED, TAKING, TAKEN };
#define PATIENCE (50 * FTL_MS)

static struct sigaction previous; /* written once, before the handler is there */

/* ---- in the worker's thread ---- */

/* The worker was asked; true: it was not too late. */
static bool answer(struct ftl__worker *worker, const void *context)
{
    struct ftl__sample *sample = &worker->runtime->monitor.sample;
    struct ftl__strand *strand = ftl__worker_strand(worker);
    uint32_t asked = ASKED;
    /* acquire: pairs with the release in ask() */
    if (atomic_load_explicit(&sample->state, memory_order_acquire) != ASKED ||
        sample->worker != worker ||
        !atomic_compare_exchange_strong_explicit(&sample->state, &asked, TAKING,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    const void *low = NULL, *top = NULL; /* of a destructor, on the thread's stack, the place only */
    if (strand && strand->stack)
        low = strand->stack->low, top = strand->stack->top;
    sample->frame_count = (uint32_t)ftl__context_frames_interrupted(context, low, top,
                                                                    sample->frames,
                                                                    FTL_PANIC_FRAMES);
    atomic_store_explicit(&sample->state, TAKEN, memory_order_release);
    ftl__futex_wake(&sample->state, 1);
    return true;
}

static void pass_on(int signal, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO)
        previous.sa_sigaction(signal, info, context);
    else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
        previous.sa_handler(signal);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    bool ours = info->si_code == SI_TKILL && info->si_pid == getpid();
    struct ftl__worker *worker = ours ? ftl__worker_current() : NULL;
    if (!worker || !worker->home)
        pass_on(signal, info, context);
    else
        (void)answer(worker, context);
    errno = saved;
}

int ftl__sample_signal(void)
{
    return SIGURG;
}

static int install_error;

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGURG, NULL, &previous) != 0 || sigaction(SIGURG, &action, NULL) != 0)
        install_error = errno;
}

int ftl__sample_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    return install_error;
}

void ftl__sample_enter(struct ftl__worker *worker)
{
    atomic_store_explicit(&worker->tid, gettid(), memory_order_relaxed);
#ifndef FTL__ASAN /* which has given it one already */
    enum { LEAST = 64 << 10 };
    long size = sysconf(_SC_SIGSTKSZ);
    stack_t stack = {.ss_size = size > LEAST ? (size_t)size : LEAST};
    stack.ss_sp = worker->signal_stack = malloc(stack.ss_size);
    if (worker->signal_stack)
        (void)sigaltstack(&stack, NULL); /* cannot fail: it is large enough, and not in use */
#endif
}

void ftl__sample_exit(struct ftl__worker *worker)
{
#ifndef FTL__ASAN
    const stack_t none = {.ss_flags = SS_DISABLE};
    (void)sigaltstack(&none, NULL);
#endif
    free(worker->signal_stack);
    worker->signal_stack = NULL;
}

/* ---- in the monitor's thread ---- */

static uint32_t ask(struct ftl__worker *worker, void **frames)
{
#ifdef FTL__TSAN
    (void)worker, (void)frames;
    return 0;
#else
    struct ftl__sample *sample = &worker->runtime->monitor.sample;
    int64_t deadline = ftl_deadline(PATIENCE);
    uint32_t asked = ASKED, state;
    sample->worker = worker;
    atomic_store_explicit(&sample->state, ASKED, memory_order_release);
    if (pthread_kill(worker->thread, SIGURG) != 0)
        deadline = 0;
    /* acquire: pairs with the release in answer() */
    while ((state = atomic_load_explicit(&sample->state, memory_order_acquire)) != TAKEN) {
        if (ftl_now() < deadline)
            ftl__futex_wait(&sample->state, state, deadline);
        else if (atomic_compare_exchange_strong(&sample->state, &asked, IDLE))
            return 0;
        else if (asked == TAKING)
            deadline = ftl_deadline(PATIENCE), asked = ASKED; /* it is at it */
        else
            asked = ASKED;
    }
    memcpy(frames, sample->frames, sample->frame_count * sizeof frames[0]);
    atomic_store_explicit(&sample->state, IDLE, memory_order_relaxed);
    return sample->frame_count;
#endif
}

/* Where the thread stands, if it sleeps in the kernel: 1; 0: it runs; -1: not known. */
static int read_place(struct ftl__worker *worker, void **ret_pc)
{
    char path[64], line[256];
    int tid = atomic_load_explicit(&worker->tid, memory_order_relaxed);
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    if (n <= 0)
        return -1;
    line[n] = '\0';
    if (strncmp(line, "running", 7) == 0)
        return 0;
    const char *last = strrchr(line, ' '); /* "NUMBER ARGS… SP PC", or "-1 SP PC" */
    return last && sscanf(last, " %p", ret_pc) == 1 ? 1 : -1;
}

void ftl__sample_take(struct ftl__worker *worker, struct ftl_stall *stall)
{
    int place = read_place(worker, &stall->frames[0]);
    if (place == 0)
        stall->frame_count = ask(worker, stall->frames);
    else if (place == 1)
        stall->frame_count = 1;
}
