/* SPDX-License-Identifier: MIT
 *
 * Futexes, and the lock that is built on them: three states (0 free, 1 held, 2 held and waited
 * for), as in U. Drepper, "Futexes Are Tricky" (2011), mutex 3. For short sections: a holder never
 * runs user code and never waits. */
#ifndef FETTLE_RUNTIME_FUTEX_H
#define FETTLE_RUNTIME_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* How often one looks again before it sleeps or yields. */
#ifndef FTL__SPINS
#define FTL__SPINS 64
#endif

/* Sleeps while *word == expected, until woken or until `deadline` (CLOCK_MONOTONIC ns, INT64_MAX =
 * none). May return early. */
void ftl__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);

/* Wakes up to `count` sleepers. Touches nothing but the address: the word may be gone. */
void ftl__futex_wake(_Atomic uint32_t *word, int count);

struct ftl__lock {
    _Atomic uint32_t word;
};

void ftl__lock_take_slowly(struct ftl__lock *lock);

static inline void ftl__lock_take(struct ftl__lock *lock)
{
    uint32_t free = 0;
    /* acquire: pairs with the release in ftl__lock_drop() of the previous holder */
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &free, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        ftl__lock_take_slowly(lock);
}

static inline void ftl__lock_drop(struct ftl__lock *lock)
{
    /* release: pairs with the acquire of the next holder */
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        ftl__futex_wake(&lock->word, 1);
}

static inline void ftl__cpu_relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
