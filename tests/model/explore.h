/* SPDX-License-Identifier: MIT
 *
 * The parts of the explorer among themselves. */
#ifndef FETTLE_TESTS_MODEL_EXPLORE_H
#define FETTLE_TESTS_MODEL_EXPLORE_H

#include "runtime/strand.h"
#include "tests/model/model.h"

enum { MODEL_THREADS = 6, MODEL_LOCATIONS = 128 };

/* What a thread knows: for each location the oldest store that it may still read, and for each
 * thread how far its plain accesses happened before. */
struct view {
    uint8_t seen[MODEL_LOCATIONS];
    uint16_t clock[MODEL_THREADS];
};

enum thread_state { READY, YIELDED, ON_FUTEX, ON_EPOLL, ON_JOIN, RETURNED };

struct thread {
    int id;
    enum thread_state state;
    const volatile void *on; /* the futex word */
    int64_t deadline;        /* of the wait; INT64_MAX: none */
    bool timed_out;
    unsigned long arrived;   /* order among waiters; of a yield: caught_up */
    unsigned long caught_up; /* the progress of which it has seen all */
    void *sp;
    void *(*fn)(void *arg);
    void *arg;
    struct view now;            /* what it knows */
    struct view acquired;       /* what an acquire fence would add */
    struct view released;       /* what its relaxed stores pass on: as of its last release fence */
    struct ftl__worker *worker; /* what stands for its thread-local variables */
    struct ftl__strand strand;
};

/* ---- explore.c: threads and choices ---- */

extern struct thread model_threads[MODEL_THREADS];
extern int model_thread_count;
extern struct thread *model_self; /* NULL: outside of a schedule */
extern bool model_tracing;
extern unsigned model_generation; /* of the schedule */
extern int64_t model_clock;       /* ns */

/* The next operation of the schedule begins: what choices are named by. */
void model_operation(void);
/* Another thread may run now, if what follows concerns others. */
void model_point(bool shared);
/* What a load returns: 0 = the newest of n possible stores. */
int model_choose_store(int n);
/* The thread cannot go on before somebody wakes it, or the deadline passes: true. */
bool model_block(enum thread_state why, const volatile void *on, int64_t deadline);
/* Wakes up to `count` of those who wait so, longest first. */
void model_wake(enum thread_state why, const volatile void *on, int count);
/* The thread spins: it goes on when something has changed that it may not have seen, and sees the
 * newest of everything, as it would in the end. */
void model_yield(void);
/* Something has changed that a spinning thread may be waiting for. */
void model_progress(void);
/* The schedules so far were cut too coarsely: from the start. */
void model_start_over(void);
void model_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* All schedules, with no preemption first, then with one, up to the scenario's bounds; or the first
 * `limit` of them (0: all). False: one failed. */
bool model_explore(const struct model_scenario *scenario, unsigned long limit,
                   unsigned long *ret_schedules);
/* One schedule, as model_schedule() wrote it, with a trace. */
bool model_replay(const struct model_scenario *scenario, const char *schedule);
const char *model_failure(void);  /* what went wrong */
const char *model_schedule(void); /* in which schedule */

/* ---- weaken.c ---- */

/* Each memory order of the runtime is weakened in turn; some scenario must notice, or the file
 * `listed` must say why none does. `leave_listed`: those in it are not tried. `words`: only those
 * with one of them in their names. TAP, exit code. */
int model_weaken(const char *listed, bool leave_listed, char **words);

/* ---- memory.c ---- */

void model_memory_forget(void); /* a new scenario */
void model_memory_begin(void);  /* a new schedule */
/* A view of a thread that begins in a schedule. */
void model_memory_thread(struct thread *thread);
void model_view_join(struct view *view, const struct view *other);
/* What the kernel sees at the address of a futex; so does the caller from now on. */
uint32_t model_memory_newest(const volatile void *object);
/* The calling thread sees the newest of everything. */
void model_memory_catch_up(void);
/* membarrier(2): a full fence in each thread. */
void model_memory_barrier(void);

/* ---- race.c ---- */

void model_plain_freed(const void *object, size_t size);
void model_plain_check_alive(const volatile void *object);

/* ---- system.c ---- */

void model_system_forget(void);   /* a new scenario */
void model_system_snapshot(void); /* after setup() */
void model_system_restore(void);  /* before each schedule */

#endif
