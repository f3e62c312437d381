/* SPDX-License-Identifier: MIT
 *
 * The explorer, for those who write scenarios: a small program of a few threads over the runtime's
 * own code, of which every schedule is run.
 *
 * setup() runs once, outside of any schedule, and names the threads; what it allocates is put back
 * to how it was before each schedule. A schedule ends when no thread can go on: finish() then says
 * whether that is as it should be. Whatever a scenario changes must lie in memory that it has
 * allocated. */
#ifndef FETTLE_TESTS_MODEL_H
#define FETTLE_TESTS_MODEL_H

#include <stdatomic.h>

struct ftl_runtime;

struct model_scenario {
    const char *name;
    const char *promise; /* what is tested, for the report */
    void (*setup)(void);
    void (*finish)(void);
    int preemptions; /* at most so many per schedule */
    int stale;       /* loads per schedule that return something else than the newest */
    int sum;         /* of the two, if that is less */
};

extern const struct model_scenario *const model_scenarios[]; /* NULL at the end */

/* Writes over what the calls before have left on the stack: whoever still looks there races. */
void model_use_stack(void);

/* From setup(): a thread of each schedule. */
void model_thread(void *(*fn)(void *arg), void *arg);
/* From setup(): a started runtime, its workers among the threads. */
struct ftl_runtime *model_runtime(unsigned workers);

/* True: the thread (in the order of their creation) has returned. For finish(). */
bool model_has_returned(int thread);

/* The promise is broken: ends the schedule, reports it. Does not return within a schedule. */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define model_check(expr) ((expr) ? (void)0 : model_fail("%s:%d: %s", __FILE__, __LINE__, #expr))

#endif
