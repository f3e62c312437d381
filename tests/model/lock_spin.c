/* SPDX-License-Identifier: MIT
 *
 * The lock whose taker looks once more before it sleeps: a second copy, under names of its own. */
#undef FTL__SPINS
#define FTL__SPINS 1
#define ftl__lock_take_slowly ftl__lock_take_slowly_2
#define ftl__futex_wait ftl__futex_wait_2
#define ftl__futex_wake ftl__futex_wake_2

#include "runtime/futex.c"

#include <stdlib.h>

#include "tests/model/model.h"

static struct state {
    struct ftl__lock lock;
    int inside, entered;
} * state;

static void *enter(void *arg)
{
    ftl__lock_take(&state->lock);
    model_check(state->inside++ == 0);
    state->entered++;
    state->inside--;
    ftl__lock_drop(&state->lock);
    return arg;
}

static void setup(void)
{
    state = calloc(1, sizeof *state);
    model_thread(enter, NULL);
    model_thread(enter, NULL);
}

static void finish(void)
{
    model_check(state->entered == 2);
}

extern const struct model_scenario model_lock_spin;
const struct model_scenario model_lock_spin = {
    .name = "lock_spin",
    .promise = "one at a time, also where it is had without a sleep",
    .setup = setup,
    .finish = finish,
    .preemptions = 3,
    .stale = 2,
};
