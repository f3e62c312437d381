/* SPDX-License-Identifier: MIT
 *
 * Allocations that fail on order, for tests with one thread: this header, included by one file of
 * the program, takes the place of malloc and its kin. Sanitizers bring their own allocator; there
 * OOM_POSSIBLE is 0 and such tests are left out. */
#ifndef FETTLE_TESTS_OOM_H
#define FETTLE_TESTS_OOM_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OOM_POSSIBLE 0
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OOM_POSSIBLE 0
#endif
#ifndef OOM_POSSIBLE
#define OOM_POSSIBLE 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

/* Allocations that still succeed; negative: all. One that fails is the last to do so. */
static volatile int oom_after = -1;

static bool oom_now(void)
{
    if (oom_after < 0)
        return false;
    bool now = oom_after == 0;
    oom_after--;
    if (now)
        errno = ENOMEM;
    return now;
}

void *malloc(size_t size)
{
    return oom_now() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return oom_now() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return oom_now() ? NULL : __libc_realloc(old, size);
}

#endif
#endif
