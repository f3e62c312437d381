/* SPDX-License-Identifier: MIT
 *
 * Branches under test write down what they do, without locks: those of one task never run in
 * parallel. */
#ifndef FETTLE_TESTS_BRANCH_H
#define FETTLE_TESTS_BRANCH_H

#include "tests/unit/counted.h"

struct trace {
    int ids[64];
    int count;
};

static inline void trace_add(struct trace *trace, int id)
{
    ftl_assert(trace->count < 64);
    trace->ids[trace->count++] = id;
}

static inline void trace_is(const struct trace *trace, const int *ids, int count)
{
    ck_assert_int_eq(trace->count, count);
    ck_assert_mem_eq(trace->ids, ids, (size_t)count * sizeof *ids);
}

/* A branch that waits until it is cut off; its defer waits, then writes its id. */
struct stay {
    struct trace *trace;
    int id;
};

static inline void stay_defer(void *arg)
{
    struct stay *stay = arg;
    ftl_assert(ftl_sleep(FTL_MS) == 0);
    trace_add(stay->trace, stay->id);
}

static inline int stay_for_ever(void *arg)
{
    FTL_DEFER(stay_defer, arg);
    ftl_sleep(1000 * FTL_S);
    ftl_panic("it stays no longer");
}

struct sleeper {
    int64_t ns;
    int result;
};

static inline int sleep_for(void *arg)
{
    struct sleeper *sleeper = arg;
    ftl_assert(ftl_sleep(sleeper->ns) == 0);
    return sleeper->result;
}

static inline int must_not_run(void *arg)
{
    (void)arg;
    ftl_panic("it runs");
}

#endif
