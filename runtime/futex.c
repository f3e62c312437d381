/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The system call and the slow path of the lock. A taker that finds the lock held spins briefly (a
 * section is some dozens of instructions), then marks it as waited for and sleeps. */
#include "runtime/futex.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void ftl__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    struct timespec at, *timeout = NULL;
    if (deadline != INT64_MAX) {
        at.tv_sec = deadline / 1000000000;
        at.tv_nsec = deadline % 1000000000;
        timeout = &at;
    }
    /* BITSET takes an absolute time. Whatever it returns, the caller looks at the word again. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, timeout, NULL,
                  FUTEX_BITSET_MATCH_ANY);
}

void ftl__futex_wake(_Atomic uint32_t *word, int count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

void ftl__lock_take_slowly(struct ftl__lock *lock)
{
    for (int i = 0; i < FTL__SPINS; i++) {
        uint32_t free = 0;
        ftl__cpu_relax();
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(&lock->word, &free, 1, memory_order_acquire,
                                                    memory_order_relaxed))
            return;
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        ftl__futex_wait(&lock->word, 2, INT64_MAX);
}
