/* SPDX-License-Identifier: MIT
 *
 * Random trees of joins, selects and timeouts under random aborts and panics: each defer runs once,
 * each permit comes back, each task ends. */
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <fettle/join.h>
#include <fettle/semaphore.h>

#include "tests/unit/branch.h"
#include "tests/unit/oom.h"

enum { TASKS = 64, ROUNDS = 40, PERMITS = 5, JOINS = 3, WIDTH = 4 };

struct tree {
    uint32_t random;
    int joins; /* that are left to it */
    long inside; /* branches of this task that run right now: 0 or 1 */
    long armed, ran;
    bool panicked;
};

static struct ftl_semaphore *permits;

static uint32_t pick(struct tree *tree, uint32_t below)
{
    uint32_t x = tree->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    tree->random = x;
    return x % below;
}

static void count_run(void *arg)
{
    struct tree *tree = arg;
    if (pick(tree, 4) == 0)
        ftl_assert(ftl_yield() == 0); /* masked */
    tree->ran++;
}

/* Not parallel with its siblings, whatever it was doing when it was cut off. */
static void be_alone(struct tree *tree)
{
    ftl_assert(tree->inside++ == 0);
    for (uint32_t i = pick(tree, 20); i > 0; i--)
        __asm__ volatile("");
    ftl_assert(--tree->inside == 0);
}

static int grow(void *arg);

static int act(struct tree *tree)
{
    FTL_PERMIT(permit);
    switch (pick(tree, 8)) {
    case 0:
        return ftl_sleep((int64_t)pick(tree, 1500) * 1000);
    case 1:
    case 2:
        return ftl_semaphore_acquire(permits, 1 + pick(tree, 2), FTL_FOREVER, &permit) == 0
                   ? ftl_yield()
                   : FTL_EPROTO;
    case 3:
        return ftl_semaphore_acquire(permits, 1, ftl_deadline(FTL_MS), &permit) == 0 ? 0
                                                                                    : FTL_EPROTO;
    case 4:
        if (pick(tree, 40) == 0) {
            tree->panicked = true;
            ftl_panic("planned");
        }
        return 0;
    case 5:
        ftl_mask();
        ftl_assert(ftl_yield() == 0);
        ftl_unmask();
        return 0;
    default:
        return ftl_yield();
    }
}

static int branch_out(struct tree *tree)
{
    struct ftl_branch branches[WIDTH];
    size_t count = 1 + pick(tree, WIDTH), index;
    int result;
    for (size_t i = 0; i < count; i++)
        branches[i] = (struct ftl_branch){.fn = grow, .arg = tree};
    switch (pick(tree, 4)) {
    case 0:
        return ftl_join(branches, count);
    case 1:
        return ftl_try_join(branches, count, &index);
    case 2:
        return ftl_select(branches, count, &index);
    default:
        return ftl_timeout(grow, tree, ftl_deadline((int64_t)pick(tree, 2000) * 1000), &result);
    }
}

static int grow(void *arg)
{
    struct tree *tree = arg;
    int rc = 0;
    tree->armed++;
    FTL_DEFER(count_run, tree);
    be_alone(tree);
    for (uint32_t i = pick(tree, 3); i > 0 && rc == 0; i--)
        rc = act(tree);
    be_alone(tree);
    if (rc == 0 && tree->joins > 0) {
        tree->joins--;
        rc = branch_out(tree);
        be_alone(tree);
    }
    return rc;
}

static void *grow_tree(void *arg)
{
    struct tree *tree = arg;
    for (int i = 0; i < 3; i++) {
        tree->joins = JOINS + (int)pick(tree, 12);
        grow(tree);
    }
    return arg;
}

static void grow_and_abort(uint32_t seed)
{
    struct tree trees[TASKS] = {{0}}, dice = {.random = seed};
    struct ftl_task *tasks[TASKS];
    for (int i = 0; i < TASKS; i++) {
        const struct ftl_spawn_options options = {.migratable = i % 2};
        trees[i].random = (seed + (uint32_t)i * 2654435769u) | 1;
        ck_assert_int_eq(ftl_spawn(fixture_runtime, grow_tree, &trees[i], &options, &tasks[i]), 0);
    }
    for (int i = 0; i < TASKS; i++) {
        if (pick(&dice, 3) != 0)
            continue;
        if (pick(&dice, 4) == 0)
            ftl_sleep(FTL_MS);
        ftl_abort(tasks[pick(&dice, TASKS)], pick(&dice, 2) ? 0 : (int64_t)pick(&dice, 3) * FTL_MS);
    }
    for (int i = 0; i < TASKS; i++) {
        struct ftl_outcome outcome = join(tasks[i]);
        ck_assert_msg(outcome.kind != FTL_PANICKED || trees[i].panicked, "%s",
                      outcome.panic ? outcome.panic->message : "");
        ck_assert(outcome.kind == FTL_PANICKED || !trees[i].panicked);
        ck_assert_int_eq(trees[i].armed, trees[i].ran);
        ftl_outcome_clear(&outcome);
    }
    ck_assert_uint_eq(ftl_semaphore_available(permits), PERMITS);
}

START_TEST(random_trees_under_random_aborts)
{
    const char *given = getenv("SEED");
    uint32_t seed = given ? (uint32_t)strtoul(given, NULL, 0)
                          : (uint32_t)time(NULL) ^ (uint32_t)getpid() << 16;
    printf("# SEED=%u\n", seed);
    permits = ftl_semaphore_new(PERMITS);
    for (int i = 0; i < ROUNDS; i++)
        grow_and_abort((seed + (uint32_t)i * 40503u) | 1);
    ftl_semaphore_free(permits);
}
END_TEST

/* ---- no memory ---- */

#if OOM_POSSIBLE
struct many {
    struct ftl_branch *branches;
    size_t count;
    int rc;
    size_t failed;
};

static int sleep_a_moment(void *arg)
{
    (void)arg;
    return ftl_sleep(FTL_MS);
}

static void *join_too_many(void *arg)
{
    struct many *many = arg;
    many->rc = ftl_join(many->branches, many->count);
    return NULL;
}

static void *try_too_many(void *arg)
{
    struct many *many = arg;
    many->rc = ftl_try_join(many->branches, many->count, &many->failed);
    return NULL;
}

/* With room for some stacks only. */
static void starve(struct many *many, ftl_task_fn fn)
{
    struct rlimit old, low;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &old), 0);
    for (size_t i = 0; i < many->count; i++)
        many->branches[i] = (struct ftl_branch){.fn = sleep_a_moment};
    fixture_run(fn, many); /* without a limit */
    ck_assert_int_eq(many->rc, 0);
    fixture_stop();
    fixture_start();
    low = old;
    low.rlim_cur = 64 << 20; /* less than is mapped */
    fixture_run(identity, NULL);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &low), 0);
    fixture_run(fn, many);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &old), 0);
    ck_assert_int_eq(many->rc, FTL_ENOMEM);
}

START_TEST(a_branch_without_a_stack_does_not_begin_and_says_so)
{
    struct many many = {.count = 20000};
    size_t returned = 0;
    many.branches = calloc(many.count, sizeof *many.branches);
    ck_assert_ptr_nonnull(many.branches);
    starve(&many, join_too_many);
    for (size_t i = 0; i < many.count; i++) {
        returned += many.branches[i].returned;
        ck_assert_int_eq(many.branches[i].result, many.branches[i].returned ? 0 : FTL_ENOMEM);
    }
    ck_assert_uint_gt(returned, 0);
    ck_assert_uint_lt(returned, many.count);
    starve(&many, try_too_many);
    ck_assert_int_eq(many.branches[many.failed].result, FTL_ENOMEM);
    free(many.branches);
}
END_TEST
#endif

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, random_trees_under_random_aborts);
#if OOM_POSSIBLE
    FIXTURE_CASE(suite, a_branch_without_a_stack_does_not_begin_and_says_so);
#endif
}

UNIT_MAIN("strands", add_cases)
