/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One word counts searchers and those awake; the list of sleepers has a lock. The word changes
 * under the lock whenever the list does, and by itself for searching. It only ever changes by
 * read-modify-writes, so that any two of its changes have an order and the later one reads what the
 * earlier one has released: that is the barrier of the protocol in idle.h. One releases (who has
 * added work), two acquire (who looks again); the rest only counts. */
#include "runtime/idle.h"

enum { SEARCHING = 1, AWAKE = 1 << 16, SEARCHING_MASK = AWAKE - 1 };

void ftl__idle_init(struct ftl__idle *idle, uint32_t workers)
{
    atomic_init(&idle->workers, workers);
    idle->sleeping = 0;
    atomic_init(&idle->lock.word, 0);
    atomic_init(&idle->state, workers * AWAKE);
}

/* relaxed: the number lags behind the list only while a worker joins or leaves, which is awake
 * then. */
static uint32_t members(const struct ftl__idle *idle)
{
    return atomic_load_explicit(&idle->workers, memory_order_relaxed);
}

static bool should_wake(const struct ftl__idle *idle, uint32_t state)
{
    return (state & SEARCHING_MASK) == 0 && state / AWAKE < members(idle);
}

int ftl__idle_to_notify(struct ftl__idle *idle)
{
    /* Writes although it changes nothing. release: the work, for the acquire in ftl__idle_sleep()
     * and ftl__idle_leave() of those who come after it */
    if (!should_wake(idle, atomic_fetch_add_explicit(&idle->state, 0, memory_order_release)))
        return -1;
    int worker = -1;
    ftl__lock_take(&idle->lock);
    /* relaxed: a searcher that is seen here has begun after the work was released above */
    if (idle->sleeping > 0 &&
        should_wake(idle, atomic_load_explicit(&idle->state, memory_order_relaxed))) {
        atomic_fetch_add_explicit(&idle->state, SEARCHING + AWAKE, memory_order_relaxed);
        worker = idle->sleepers[--idle->sleeping];
    }
    ftl__lock_drop(&idle->lock);
    return worker;
}

bool ftl__idle_sleep(struct ftl__idle *idle, uint32_t worker, bool searching)
{
    ftl__lock_take(&idle->lock);
    /* acquire: pairs with the release in ftl__idle_to_notify(); the second look sees that work */
    uint32_t old = atomic_fetch_sub_explicit(&idle->state, AWAKE + (searching ? SEARCHING : 0),
                                             memory_order_acquire);
    idle->sleepers[idle->sleeping++] = (uint16_t)worker;
    ftl__lock_drop(&idle->lock);
    return (old & SEARCHING_MASK) == (searching ? 1 : 0);
}

bool ftl__idle_wake(struct ftl__idle *idle, uint32_t worker)
{
    bool found = false;
    ftl__lock_take(&idle->lock);
    for (uint32_t i = 0; i < idle->sleeping; i++) {
        if (idle->sleepers[i] == worker) {
            idle->sleepers[i] = idle->sleepers[--idle->sleeping];
            atomic_fetch_add_explicit(&idle->state, AWAKE, memory_order_relaxed);
            found = true;
            break;
        }
    }
    ftl__lock_drop(&idle->lock);
    return found;
}

bool ftl__idle_is_sleeping(struct ftl__idle *idle, uint32_t worker)
{
    bool found = false;
    ftl__lock_take(&idle->lock);
    for (uint32_t i = 0; i < idle->sleeping && !found; i++)
        found = idle->sleepers[i] == worker;
    ftl__lock_drop(&idle->lock);
    return found;
}

bool ftl__idle_search(struct ftl__idle *idle)
{
    uint32_t state = atomic_load_explicit(&idle->state, memory_order_relaxed); /* a bound only */
    if (2 * (state & SEARCHING_MASK) >= members(idle))
        return false;
    /* Not exact: two may pass at once. It bounds, it does not exclude. */
    atomic_fetch_add_explicit(&idle->state, SEARCHING, memory_order_relaxed);
    return true;
}

bool ftl__idle_found(struct ftl__idle *idle)
{
    /* relaxed: the last one wakes another without a look at the queues */
    uint32_t old = atomic_fetch_sub_explicit(&idle->state, SEARCHING, memory_order_relaxed);
    return (old & SEARCHING_MASK) == 1;
}

void ftl__idle_join(struct ftl__idle *idle)
{
    ftl__lock_take(&idle->lock);
    atomic_store_explicit(&idle->workers, members(idle) + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&idle->state, SEARCHING + AWAKE, memory_order_relaxed);
    ftl__lock_drop(&idle->lock);
}

bool ftl__idle_leave(struct ftl__idle *idle, bool searching)
{
    ftl__lock_take(&idle->lock);
    /* acquire: as in ftl__idle_sleep() */
    uint32_t old = atomic_fetch_sub_explicit(&idle->state, AWAKE + (searching ? SEARCHING : 0),
                                             memory_order_acquire);
    atomic_store_explicit(&idle->workers, members(idle) - 1, memory_order_relaxed);
    ftl__lock_drop(&idle->lock);
    return (old & SEARCHING_MASK) == (searching ? 1 : 0);
}
