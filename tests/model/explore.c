/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The search. A schedule is run from its beginning to the point at which no thread can go on; on
 * its way it asks model_choose() wherever there is more than one way, and the answers make a list.
 * The next schedule repeats the list up to its last answer that has an alternative, takes that, and
 * goes on with the ordinary answers: depth first, no schedule twice, nothing stored but the list.
 *
 * Bounds: a switch away from a thread that could go on is a preemption; a load that does not return
 * the newest value is stale. All schedules with no preemption come first, then those with at most
 * one, and so on: the first failure found has the fewest.
 *
 * Threads are contexts on stacks of their own in one real thread, switched by the runtime's own
 * ftl__context_switch(). Everything is deterministic: a list of answers is a schedule, and can be
 * run again with a trace. */
#include "tests/model/explore.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/context.h"

enum { STACK = 128 << 10, CHOICES = 4096, OPERATIONS = 50000, TEXT = 4096 };

/* What is decided: who goes on, or what a load returns. */
enum kind { WHO = 'T', WHAT = '-' };

struct choice {
    uint8_t picked, count;
    unsigned char kind;
    uint8_t answer;          /* for people: the thread, or how many stores back */
    unsigned long operation; /* at which */
};

struct thread model_threads[MODEL_THREADS];
int model_thread_count;
struct thread *model_self;
bool model_tracing;
unsigned model_generation;
int64_t model_clock;

static _Alignas(4096) char stacks[MODEL_THREADS * STACK];
static void *explorer; /* its context, while a schedule runs */
static struct choice choices[CHOICES];
static int chosen, known; /* so far in this schedule; answers that are given */
static bool replaying;    /* a list read from text, by operation */
static int preemptions, preemptions_max, stale, stale_max, sum_max;
static unsigned long operations, progress, arrivals;
static bool failed, start_over;
static char failure[TEXT], schedule[TEXT];

/* ---- failure ---- */

void model_fail(const char *format, ...)
{
    va_list args;
    if (!failed) {
        va_start(args, format);
        vsnprintf(failure, sizeof failure, format, args);
        va_end(args);
        model_trace("FAILS: %s", failure);
    }
    failed = true;
    if (model_self) {
        void *abandoned;
        ftl__context_switch(&abandoned, explorer);
    }
}

const char *model_failure(void)
{
    return failure;
}

const char *model_schedule(void)
{
    return schedule;
}

void model_trace(const char *format, ...)
{
    va_list args;
    if (!model_tracing)
        return;
    printf("#   T%d ", model_self ? model_self->id : -1);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- choices ---- */

static int replay_answer(enum kind kind)
{
    for (int i = 0; i < known; i++)
        if (choices[i].operation == operations && choices[i].kind == kind)
            return choices[i].answer;
    return -1;
}

/* One of n ways to go on; 0 is the ordinary one. `answers`: what they are called. */
static int choose(enum kind kind, int n, const uint8_t *answers)
{
    if (n <= 1 || failed)
        return 0;
    if (replaying) {
        int answer = replay_answer(kind);
        for (int i = 0; i < n; i++)
            if (answers[i] == answer)
                return i;
        return 0;
    }
    if (chosen == CHOICES) {
        model_fail("a schedule without an end: %d choices", chosen);
        return 0;
    }
    struct choice *choice = &choices[chosen++];
    if (chosen > known) {
        choice->picked = 0;
        known = chosen;
    } else if (choice->count != n) {
        model_fail("not the same schedule again: something is not put back");
        return 0;
    }
    choice->count = (uint8_t)n;
    choice->kind = (unsigned char)kind;
    choice->answer = answers[choice->picked];
    choice->operation = operations;
    return choice->picked;
}

int model_choose_store(int n)
{
    uint8_t answers[256];
    if (stale >= stale_max || preemptions + stale >= sum_max)
        return 0;
    for (int i = 0; i < n; i++)
        answers[i] = (uint8_t)i;
    int pick = choose(WHAT, n, answers);
    stale += pick != 0;
    return pick;
}

void model_operation(void)
{
    if (++operations > OPERATIONS)
        model_fail("a schedule without an end: %lu operations", operations);
}

/* Prepares the next schedule; false: that was the last. */
static bool next_schedule(void)
{
    known = chosen;
    while (known > 0 && choices[known - 1].picked + 1 >= choices[known - 1].count)
        known--;
    if (known == 0)
        return false;
    choices[known - 1].picked++;
    return true;
}

void model_start_over(void)
{
    start_over = true;
}

/* The answers that are not the ordinary one: at the 12th operation T1 goes on, the load of the 15th
 * returns the store before the newest: 12T1,15-1. */
static void write_schedule(void)
{
    size_t used = 0;
    snprintf(schedule, sizeof schedule, "0T0");
    for (int i = 0; i < chosen && used + 32 < sizeof schedule; i++)
        if (choices[i].picked > 0)
            used += (size_t)snprintf(schedule + used, sizeof schedule - used, "%s%lu%c%d",
                                     used ? "," : "", choices[i].operation, choices[i].kind,
                                     choices[i].answer);
}

static void read_schedule(const char *text)
{
    int length;
    for (known = 0; known < CHOICES; known++, text += length) {
        struct choice *choice = &choices[known];
        if (sscanf(text, "%lu%c%hhu%n", &choice->operation, (char *)&choice->kind, &choice->answer,
                   &length) != 3)
            return;
        length += text[length] == ',';
    }
}

/* ---- threads ---- */

static bool can_run(const struct thread *thread)
{
    switch (thread->state) {
    case READY:
        return true;
    case YIELDED:
        return thread->arrived != progress;
    case RETURNED:
        return false;
    default:
        return thread->deadline != INT64_MAX;
    }
}

static void let_run(struct thread *thread)
{
    if (thread->state >= ON_FUTEX) { /* nobody woke it: its time is over */
        thread->timed_out = true;
        if (model_clock < thread->deadline)
            model_clock = thread->deadline;
    }
    thread->state = READY;
}

/* Switches to `next` (NULL: the explorer, the schedule is over). */
static void switch_to(struct thread *next)
{
    struct thread *self = model_self;
    void *nowhere, **save = self ? &self->sp : &explorer;
    if (next == self)
        return;
    if (self && self->state == RETURNED)
        save = &nowhere;
    model_self = next;
    ftl__context_switch(save, next ? next->sp : explorer);
}

static void reschedule(void)
{
    struct thread *self = model_self, *options[MODEL_THREADS];
    uint8_t answers[MODEL_THREADS];
    bool goes_on = self && self->state == READY;
    bool free = !goes_on || (preemptions < preemptions_max && preemptions + stale < sum_max);
    int n = 0;
    if (goes_on)
        options[n++] = self;
    for (int i = 0; i < model_thread_count; i++)
        if (free && &model_threads[i] != self && can_run(&model_threads[i]))
            options[n++] = &model_threads[i];
    if (!goes_on && self && can_run(self)) /* by its deadline, or spinning on */
        options[n++] = self;
    if (n == 0) {
        switch_to(NULL);
        return;
    }
    for (int i = 0; i < n; i++)
        answers[i] = (uint8_t)options[i]->id;
    int pick = choose(WHO, n, answers);
    if (goes_on && pick != 0)
        preemptions++;
    let_run(options[pick]);
    switch_to(options[pick]);
}

void model_point(bool shared)
{
    if (shared || replaying)
        reschedule();
}

bool model_block(enum thread_state why, const volatile void *on, int64_t deadline)
{
    struct thread *self = model_self;
    self->state = why;
    self->on = on;
    self->deadline = deadline;
    self->timed_out = false;
    self->arrived = why == YIELDED ? self->caught_up : ++arrivals;
    model_trace(why == YIELDED ? "yields" : "waits");
    model_operation();
    reschedule();
    model_trace(self->timed_out ? "goes on, timed out" : "goes on");
    return self->timed_out;
}

void model_wake(enum thread_state why, const volatile void *on, int count)
{
    while (count-- > 0) {
        struct thread *first = NULL;
        for (int i = 0; i < model_thread_count; i++) {
            struct thread *thread = &model_threads[i];
            if (thread->state == why && thread->on == on &&
                (!first || thread->arrived < first->arrived))
                first = thread;
        }
        if (!first)
            return;
        first->state = READY;
        model_progress();
    }
}

void model_progress(void)
{
    progress++;
}

void model_yield(void)
{
    model_block(YIELDED, NULL, INT64_MAX);
    model_memory_catch_up();
    model_self->caught_up = progress;
}

bool model_has_returned(int thread)
{
    return model_threads[thread].state == RETURNED;
}

static void *thread_main(void *arg)
{
    struct thread *self = arg;
    self->fn(self->arg);
    self->state = RETURNED;
    model_trace("returns");
    model_progress();
    model_wake(ON_JOIN, self, MODEL_THREADS);
    reschedule();
    __builtin_unreachable();
}

void model_thread(void *(*fn)(void *arg), void *arg)
{
    if (model_thread_count == MODEL_THREADS)
        abort();
    struct thread *thread = &model_threads[model_thread_count];
    *thread = (struct thread){.id = model_thread_count++, .fn = fn, .arg = arg};
}

/* ---- schedules ---- */

static void begin(struct thread *thread)
{
    *thread = (struct thread){
        .id = thread->id, .fn = thread->fn, .arg = thread->arg, .deadline = INT64_MAX};
    model_memory_thread(thread);
    char *top = stacks + (size_t)(thread->id + 1) * STACK;
    thread->sp = ftl__context_make(top, thread_main, thread);
}

static void run_schedule(const struct model_scenario *scenario)
{
    model_generation++;
    model_clock = 1000000000;
    chosen = preemptions = stale = 0;
    operations = progress = arrivals = 0;
    failed = start_over = false;
    model_memory_begin();
    model_system_restore();
    for (int i = 0; i < model_thread_count; i++)
        begin(&model_threads[i]);
    reschedule();
    model_self = NULL;
    if (!failed)
        scenario->finish();
}

static void prepare(const struct model_scenario *scenario)
{
    model_thread_count = 0;
    model_system_forget();
    scenario->setup();
    model_system_snapshot();
    chosen = known = 0;
}

bool model_explore(const struct model_scenario *scenario, unsigned long limit,
                   unsigned long *ret_schedules)
{
    *ret_schedules = 0;
    prepare(scenario);
    stale_max = scenario->stale;
    sum_max = scenario->sum ? scenario->sum : scenario->preemptions + scenario->stale;
    for (preemptions_max = 0; preemptions_max <= scenario->preemptions; preemptions_max++) {
        known = 0;
        do {
            run_schedule(scenario);
            ++*ret_schedules;
            if (failed) {
                write_schedule();
                return false;
            }
            if (*ret_schedules == limit)
                return true;
            if (start_over)
                known = chosen = 0;
        } while (start_over || next_schedule());
    }
    return true;
}

bool model_replay(const struct model_scenario *scenario, const char *text)
{
    prepare(scenario);
    preemptions_max = stale_max = sum_max = INT_MAX;
    read_schedule(text);
    replaying = model_tracing = true;
    run_schedule(scenario);
    replaying = model_tracing = false;
    return !failed;
}
