/* SPDX-License-Identifier: MIT
 *
 * What the sanitizers must be told about stacks that they did not make. All of it is nothing in a
 * plain build. ASan: each switch says where it goes and, on arrival, where it came from.
 *
 * TSan: each stack is a fiber, and so is each worker's scheduler. A switch orders nothing: that two
 * tasks ran on one thread one after the other is chance, and their races are to be reported. What
 * the runtime does promise goes through a task's *turn*, an address that stands for it:
 *     spawning it, waking it      pass   (ftl__schedule)
 *     its strands, switching out  pass
 *     its strands, going on       take   (so that those of one task are ordered by the switches)
 *     the end, by its worker      take   (then the joiner, by the state word)
 * A stack has a turn as well: its worker passes it on with the stack, whose next strand takes it (a
 * branch's strand lies on it, and its worker reads that). All tasks of a serial runtime have one
 * turn. What a task does to what belongs to its worker is ordered by nothing that TSan sees, and is
 * not looked at: FTL__UNSEEN, ftl__shadow_pause(). Locks and queues of the runtime order what they
 * order, which may hide a race of two tasks but invents none; so does a stack that the two use one
 * after the other. TSan bears some 8,000 fibers, that is so many started tasks, and says so when
 * there are more. */
#ifndef FETTLE_RUNTIME_SANITIZER_H
#define FETTLE_RUNTIME_SANITIZER_H

#include <stddef.h>

#if defined __has_feature
#if __has_feature(address_sanitizer)
#define FTL__ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FTL__TSAN 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__
#define FTL__ASAN 1
#endif
#if defined __SANITIZE_THREAD__
#define FTL__TSAN 1
#endif

#ifdef FTL__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FTL__TSAN
#include <errno.h>

#include <sanitizer/tsan_interface.h>
/* Not in the header of every version: what the calling fiber reads and writes is not looked at. */
void __tsan_ignore_thread_begin(void);
void __tsan_ignore_thread_end(void);
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *address, size_t size,
                             const char *what);
#endif

/* For functions that never return to their callers: TSan keeps a stack of calls for each fiber,
 * which would grow with every task that ends. */
#if defined __has_attribute
#if __has_attribute(disable_sanitizer_instrumentation)
#define FTL__UNTRACKED __attribute__((disable_sanitizer_instrumentation, noinline))
#endif
#endif
#ifndef FTL__UNTRACKED
#define FTL__UNTRACKED __attribute__((no_sanitize("thread"), noinline))
#endif

/* For small functions that run on tasks' stacks, touch what is the worker's and order nothing. */
#define FTL__UNSEEN __attribute__((no_sanitize("thread")))

/* As FTL__UNTRACKED, for what must be part of its caller: a call that begins on one fiber ends on another. */
#define FTL__WITHIN __attribute__((no_sanitize("thread"), always_inline))

/* What a suspended flow of control keeps for the sanitizers. */
struct ftl__shadow {
#ifdef FTL__ASAN
    void *fake;
#endif
#ifdef FTL__TSAN
    void *fiber;
#endif
#if !defined FTL__ASAN && !defined FTL__TSAN
    __extension__ char none[0];
#endif
};

/* Before a switch from `from` (NULL: it will never be resumed) to `to`, whose stack is [low,
 * +size). */
FTL__WITHIN static inline void ftl__shadow_leave(struct ftl__shadow *from, struct ftl__shadow *to,
                                     const void *low, size_t size)
{
    (void)from, (void)to, (void)low, (void)size;
#ifdef FTL__ASAN
    __sanitizer_start_switch_fiber(from ? &from->fake : NULL, low, size);
#endif
#ifdef FTL__TSAN
    __tsan_switch_to_fiber(to->fiber, __tsan_switch_to_fiber_no_sync);
#endif
}

/* After the switch, on the stack of `self`; tells the bounds of the stack that was left. */
FTL__WITHIN static inline void ftl__shadow_arrive(struct ftl__shadow *self, const void **ret_low,
                                      size_t *ret_size)
{
    (void)self;
    *ret_low = NULL;
    *ret_size = 0;
#ifdef FTL__ASAN
    __sanitizer_finish_switch_fiber(self->fake, ret_low, ret_size);
#endif
}

/* What was done before a pass is ordered before what is done after a take of the same turn. */
static inline void ftl__shadow_pass(void *turn)
{
    (void)turn;
#ifdef FTL__TSAN
    __tsan_release(turn);
#endif
}

static inline void ftl__shadow_take(void *turn)
{
    (void)turn;
#ifdef FTL__TSAN
    __tsan_acquire(turn);
#endif
}

/* Between the two the caller touches what belongs to its worker, plainly: of that TSan sees the
 * atomic operations only. They nest. */
static inline void ftl__shadow_pause(void)
{
#ifdef FTL__TSAN
    __tsan_ignore_thread_begin();
#endif
}

static inline void ftl__shadow_resume(void)
{
#ifdef FTL__TSAN
    __tsan_ignore_thread_end();
#endif
}

/* A strand begins on the stack whose fiber is *fiber (made at the stack's first use: making one is
 * slow) / has ended (called on another stack). */
static inline void ftl__shadow_begin(struct ftl__shadow *shadow, void **fiber)
{
    (void)shadow, (void)fiber;
#ifdef FTL__ASAN
    shadow->fake = NULL;
#endif
#ifdef FTL__TSAN
    if (!*fiber)
        *fiber = __tsan_create_fiber(0);
    shadow->fiber = *fiber;
#endif
}

static inline void ftl__shadow_end(void *low, size_t size)
{
    (void)low, (void)size;
#ifdef FTL__ASAN
    __asan_unpoison_memory_region(low, size);
#endif
}

/* The stack goes for good. */
static inline void ftl__shadow_forget(void *fiber)
{
    (void)fiber;
#ifdef FTL__TSAN
    if (fiber)
        __tsan_destroy_fiber(fiber);
#endif
}

/* The calling thread's own stack. Its errno is shared by all tasks that it runs, one after the
 * other, and means nothing to the next one: not a race. */
static inline void ftl__shadow_thread(struct ftl__shadow *shadow)
{
    (void)shadow;
#ifdef FTL__TSAN
    shadow->fiber = __tsan_get_current_fiber();
    AnnotateBenignRaceSized(__FILE__, __LINE__, &errno, sizeof errno, "errno");
#endif
}

#endif
