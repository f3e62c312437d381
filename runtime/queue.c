/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * See queue.h. The owner publishes a slot by storing `tail` with release; thieves and the owner
 * claim slots by a compare-and-swap of `head`. A thief moves in three steps: it claims [real, real
 * + n) while leaving the high half behind (which keeps the owner from overwriting those slots and
 * other thieves away), copies, and then catches the high half up.
 *
 * Two pairs order all of it, and slots are plain memory: `tail` hands slots to thieves, `head`
 * hands them back once they are copied. Claims need no order of their own: in the modification order of
 * `head` each has one winner, and as read-modify-writes they pass on what a thief has released
 * there. A thief that sees `head` newer than `tail`, or older, takes nothing or loses the swap. */
#include "runtime/queue.h"

#include <stddef.h>

#include "runtime/tcb.h"

enum { MASK = FTL__QUEUE_SIZE - 1, HALF = FTL__QUEUE_SIZE / 2 };

static uint64_t pack(uint32_t steal, uint32_t real)
{
    return (uint64_t)steal << 32 | real;
}

static uint32_t steal_of(uint64_t head)
{
    return (uint32_t)(head >> 32);
}

static uint32_t real_of(uint64_t head)
{
    return (uint32_t)head;
}

void ftl__queue_init(struct ftl__queue *queue)
{
    atomic_init(&queue->head, 0);
    atomic_init(&queue->tail, 0);
}

/* Plain memory; but to ThreadSanitizer the owner is as many threads as its worker has fibers, of
 * which only the one that stored `tail` last is ordered before a thief. */
static inline void put(struct ftl__queue *queue, uint32_t at, struct ftl_task *task)
{
#ifdef FTL__TSAN
    __atomic_store_n(&queue->slots[at & MASK], task, __ATOMIC_RELAXED);
#else
    queue->slots[at & MASK] = task;
#endif
}

static inline struct ftl_task *get(const struct ftl__queue *queue, uint32_t at)
{
#ifdef FTL__TSAN
    return __atomic_load_n(&queue->slots[at & MASK], __ATOMIC_RELAXED);
#else
    return queue->slots[at & MASK];
#endif
}

bool ftl__queue_push(struct ftl__queue *queue, struct ftl_task *task)
{
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    /* acquire: pairs with a thief's release in grab(), after it has read the slots */
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    if (tail - steal_of(head) >= FTL__QUEUE_SIZE)
        return false;
    put(queue, tail, task);
    /* release: the slot and the task, for the acquire of `tail` in grab() */
    atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
    return true;
}

struct ftl_task *ftl__queue_pop(struct ftl__queue *queue)
{
    /* relaxed: the slots are its own; and the claim is the swap */
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    for (;;) {
        uint32_t steal = steal_of(head), real = real_of(head);
        if (real == atomic_load_explicit(&queue->tail, memory_order_relaxed))
            return NULL;
        uint64_t next = pack(steal == real ? real + 1 : steal, real + 1);
        if (atomic_compare_exchange_weak_explicit(&queue->head, &head, next, memory_order_relaxed,
                                                  memory_order_relaxed))
            return get(queue, real);
    }
}

uint32_t ftl__queue_shed(struct ftl__queue *queue, struct ftl_task **ret_first,
                         struct ftl_task **ret_last)
{
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    /* relaxed: it writes no slot */
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    uint32_t real = real_of(head);
    if (steal_of(head) != real || tail - real != FTL__QUEUE_SIZE)
        return 0;

    /* Claim all, keep the older half by appending it anew: the newer half is what leaves, so that
     * tasks which came from the injection queue do not go straight back there. */
    if (!atomic_compare_exchange_strong_explicit(&queue->head, &head, pack(tail, tail),
                                                 memory_order_relaxed, memory_order_relaxed))
        return 0;
    struct ftl_task *first = NULL, *last = NULL;
    for (uint32_t i = HALF; i < FTL__QUEUE_SIZE; i++) {
        struct ftl_task *task = get(queue, real + i);
        if (last)
            last->queue_next = task;
        else
            first = task;
        last = task;
    }
    last->queue_next = NULL;
    /* The ring is empty and ours: slots [real, real + HALF) are, modulo its size, [tail, tail +
     * HALF). release: as in push. */
    atomic_store_explicit(&queue->tail, tail + HALF, memory_order_release);
    *ret_first = first;
    *ret_last = last;
    return HALF;
}

/* Claims half of `from` and copies it behind `to_tail`, unpublished. Returns how many. */
static uint32_t grab(struct ftl__queue *from, struct ftl__queue *to, uint32_t to_tail)
{
    /* relaxed: what is read behind it is ordered by `tail` */
    uint64_t head = atomic_load_explicit(&from->head, memory_order_relaxed);
    uint32_t real, n;
    for (;;) {
        real = real_of(head);
        if (steal_of(head) != real)
            return 0;
        /* acquire: pairs with the owner's releases of `tail` */
        uint32_t tail = atomic_load_explicit(&from->tail, memory_order_acquire);
        n = tail - real;
        if (n > FTL__QUEUE_SIZE) /* the two are of different times */
            n = 0;
        n -= n / 2;
        if (n == 0)
            return 0;
        if (atomic_compare_exchange_weak_explicit(&from->head, &head, pack(real, real + n),
                                                  memory_order_relaxed, memory_order_relaxed))
            break;
    }
    for (uint32_t i = 0; i < n; i++)
        put(to, to_tail + i, get(from, real + i));
    /* The copies are made: catch the high half up. The owner may have popped meanwhile. */
    head = pack(real, real + n);
    uint64_t next;
    do {
        uint32_t now = real_of(head);
        next = pack(now, now);
        /* release: pairs with the owner's acquire of `head`, before it writes these slots again */
    } while (!atomic_compare_exchange_weak_explicit(&from->head, &head, next, memory_order_release,
                                                    memory_order_relaxed));
    return n;
}

struct ftl_task *ftl__queue_steal(struct ftl__queue *from, struct ftl__queue *to,
                                  uint32_t *ret_moved)
{
    uint32_t to_tail = atomic_load_explicit(&to->tail, memory_order_relaxed);
    /* acquire: as in push */
    uint64_t to_head = atomic_load_explicit(&to->head, memory_order_acquire);
    if (to_tail - steal_of(to_head) > HALF)
        return NULL;
    uint32_t n = grab(from, to, to_tail);
    if (n == 0)
        return NULL;
    n--; /* the last one is run at once */
    struct ftl_task *task = get(to, to_tail + n);
    if (n > 0) /* release: as in push */
        atomic_store_explicit(&to->tail, to_tail + n, memory_order_release);
    *ret_moved = n + 1;
    return task;
}

/* relaxed: who must see a task that was pushed has had it ordered by the idle word before. */
uint32_t ftl__queue_len(const struct ftl__queue *queue)
{
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    uint32_t len = tail - real_of(head);
    return len > FTL__QUEUE_SIZE ? FTL__QUEUE_SIZE : len; /* the two are of different times */
}
