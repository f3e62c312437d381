/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A timer stands in the level given by the highest bit in which its tick differs from the elapsed
 * one: level 0 holds the next 64 ms one by one, level 1 the next 4 s by 64 ms, and so on to a year;
 * what is farther fires after a year, too early, which ftl__waiter_wait() expects. Advancing jumps
 * from one occupied slot to the next; slots above level 0 are spread over the lower levels when
 * their time begins. Who sleeps does not wake for that, if there are few in the slot: then the first
 * of them is looked for, and spreading is left to the time at which it is due.
 *
 * Most timers are cancelled, being limits of what is quick. So a timer that is earlier than all
 * others wakes the sleeper once, and for the time until it is due no other one that is later does:
 * the sleeper keeps to that time when the timer has gone. */
#include "runtime/timer.h"

enum { TICK_NS = 1000000, BITS = 6, FEW = 32 };
/* Half a turn of the last level: what is placed no farther ahead never meets the slot of now. */
static const uint64_t reach = ((uint64_t)1 << (BITS * FTL__WHEEL_LEVELS - 1)) - 1;

void ftl__wheel_init(struct ftl__wheel *wheel, int64_t now)
{
    *wheel = (struct ftl__wheel){.origin = now};
    for (int level = 0; level < FTL__WHEEL_LEVELS; level++)
        for (int slot = 0; slot < FTL__WHEEL_SLOTS; slot++)
            ftl__list_init(&wheel->slots[level][slot]);
}

static void place(struct ftl__wheel *wheel, struct ftl__timer *timer)
{
    uint64_t differs = (wheel->elapsed ^ timer->when) | (FTL__WHEEL_SLOTS - 1);
    if (differs > (reach << 1))
        differs = reach << 1; /* over the end of the last level: it turns around */
    int level = (63 - __builtin_clzll(differs)) / BITS;
    int slot = (int)((timer->when >> (BITS * level)) % FTL__WHEEL_SLOTS);
    timer->level = (uint8_t)level;
    timer->slot = (uint8_t)slot;
    ftl__list_push_back(&wheel->slots[level][slot], &timer->waiter.link);
    wheel->occupied[level] |= (uint64_t)1 << slot;
}

bool ftl__wheel_arm(struct ftl__wheel *wheel, struct ftl__timer *timer, int64_t deadline)
{
    uint64_t when = deadline <= wheel->origin
                        ? 0
                        : ((uint64_t)(deadline - wheel->origin) + TICK_NS - 1) / TICK_NS;
    ftl__lock_take(&wheel->lock);
    if (when <= wheel->elapsed)
        when = wheel->elapsed + 1;
    if (when > wheel->elapsed + reach)
        when = wheel->elapsed + reach; /* it fires early, and is armed again by who waits */
    timer->when = when;
    place(wheel, timer);
    bool wake = timer->when < wheel->sleeper_wakes;
    if (wake)
        wheel->sleeper_wakes = wheel->alarm = timer->when; /* one wake-up is enough */
    ftl__lock_drop(&wheel->lock);
    return wake;
}

void ftl__wheel_cancel(struct ftl__wheel *wheel, struct ftl__timer *timer)
{
    /* acquire: pairs with the grant, after which the wheel is done with the timer */
    if (atomic_load_explicit(&timer->waiter.state, memory_order_acquire) == FTL__GRANTED)
        return;
    ftl__lock_take(&wheel->lock);
    if (ftl__list_is_linked(&timer->waiter.link)) {
        ftl__list_unlink(&timer->waiter.link);
        if (ftl__list_is_empty(&wheel->slots[timer->level][timer->slot]))
            wheel->occupied[timer->level] &= ~((uint64_t)1 << timer->slot);
    }
    ftl__lock_drop(&wheel->lock);
}

/* The next occupied slot and the tick at which its time begins; false: the wheel is empty. */
static bool next_slot(const struct ftl__wheel *wheel, int *ret_level, int *ret_slot,
                      uint64_t *ret_tick)
{
    for (int level = 0; level < FTL__WHEEL_LEVELS; level++) {
        uint64_t occupied = wheel->occupied[level];
        if (!occupied)
            continue;
        unsigned now = (unsigned)((wheel->elapsed >> (BITS * level)) % FTL__WHEEL_SLOTS);
        uint64_t turned = now ? occupied >> now | occupied << (64 - now) : occupied;
        unsigned ahead = (unsigned)__builtin_ctzll(turned);
        uint64_t base = wheel->elapsed >> (BITS * level);
        uint64_t tick = (base + ahead) << (BITS * level);
        *ret_level = level;
        *ret_slot = (int)((now + ahead) % FTL__WHEEL_SLOTS);
        *ret_tick = tick > wheel->elapsed ? tick : wheel->elapsed;
        return true;
    }
    return false;
}

static uint32_t open_slot(struct ftl__wheel *wheel, int level, int slot, struct ftl__wakes *wakes)
{
    uint32_t fired = 0;
    struct ftl__list due, *node;
    ftl__list_init(&due);
    ftl__list_splice(&due, &wheel->slots[level][slot]);
    wheel->occupied[level] &= ~((uint64_t)1 << slot);
    while ((node = ftl__list_pop_front(&due)) != NULL) {
        struct ftl__timer *timer = ftl__container(node, struct ftl__timer, waiter.link);
        if (timer->when <= wheel->elapsed) {
            ftl__waiter_grant(&timer->waiter, wakes);
            fired++;
        } else {
            place(wheel, timer);
        }
    }
    return fired;
}

uint32_t ftl__wheel_advance(struct ftl__wheel *wheel, int64_t now, struct ftl__wakes *wakes)
{
    uint64_t target = now <= wheel->origin ? 0 : (uint64_t)(now - wheel->origin) / TICK_NS;
    uint32_t fired = 0;
    int level, slot;
    uint64_t tick;
    ftl__lock_take(&wheel->lock);
    wheel->sleeper_wakes = 0;
    while (next_slot(wheel, &level, &slot, &tick) && tick <= target) {
        wheel->elapsed = tick;
        fired += open_slot(wheel, level, slot, wakes);
    }
    if (wheel->elapsed < target)
        wheel->elapsed = target;
    ftl__lock_drop(&wheel->lock);
    return fired;
}

/* When the first timer of a slot is due, or the slot's own time if there are more than a few. */
static uint64_t first_of(struct ftl__list *slot, uint64_t tick)
{
    uint64_t first = UINT64_MAX;
    int seen = 0;
    for (struct ftl__list *node = slot->next; node != slot; node = node->next) {
        uint64_t when = ftl__container(node, struct ftl__timer, waiter.link)->when;
        if (++seen > FEW)
            return tick;
        first = when < first ? when : first;
    }
    return first;
}

int64_t ftl__wheel_sleep(struct ftl__wheel *wheel)
{
    int level, slot;
    uint64_t tick;
    ftl__lock_take(&wheel->lock);
    tick = next_slot(wheel, &level, &slot, &tick)
               ? first_of(&wheel->slots[level][slot], tick)
               : UINT64_MAX;
    if (wheel->alarm > wheel->elapsed && wheel->alarm < tick)
        tick = wheel->alarm;
    wheel->sleeper_wakes = tick;
    ftl__lock_drop(&wheel->lock);
    return tick == UINT64_MAX ? INT64_MAX : wheel->origin + (int64_t)tick * TICK_NS;
}
