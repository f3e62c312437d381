/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * See queue.h. The owner publishes a slot by storing `tail` with release; thieves and the owner
 * claim slots by a compare-and-swap of `head`. A thief moves in three steps: it claims [real, real
 * + n) while leaving the high half behind (which keeps the owner from overwriting those slots and
 * other thieves away), copies, and then catches the high half up. */
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
    for (uint32_t i = 0; i < FTL__QUEUE_SIZE; i++)
        atomic_init(&queue->slots[i], NULL);
}

bool ftl__queue_push(struct ftl__queue *queue, struct ftl_task *task)
{
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    /* acquire: pairs with the thief's release of `head`, after its reads of the slots */
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    if (tail - steal_of(head) >= FTL__QUEUE_SIZE)
        return false;
    atomic_store_explicit(&queue->slots[tail & MASK], task, memory_order_relaxed);
    /* release: publishes the slot and the task to thieves' acquire of `tail` */
    atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
    return true;
}

struct ftl_task *ftl__queue_pop(struct ftl__queue *queue)
{
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    for (;;) {
        uint32_t steal = steal_of(head), real = real_of(head);
        if (real == atomic_load_explicit(&queue->tail, memory_order_relaxed))
            return NULL;
        uint64_t next = pack(steal == real ? real + 1 : steal, real + 1);
        /* acq_rel: against thieves' claims of the same slots */
        if (atomic_compare_exchange_weak_explicit(&queue->head, &head, next, memory_order_acq_rel,
                                                  memory_order_acquire))
            return atomic_load_explicit(&queue->slots[real & MASK], memory_order_relaxed);
    }
}

uint32_t ftl__queue_shed(struct ftl__queue *queue, struct ftl_task **ret_first,
                         struct ftl_task **ret_last)
{
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    uint32_t real = real_of(head);
    if (steal_of(head) != real || tail - real != FTL__QUEUE_SIZE)
        return 0;

    /* Claim all, keep the older half by appending it anew: the newer half is what leaves, so that
     * tasks which came from the injection queue do not go straight back there. */
    if (!atomic_compare_exchange_strong_explicit(&queue->head, &head, pack(tail, tail),
                                                 memory_order_acq_rel, memory_order_acquire))
        return 0;
    struct ftl_task *first = NULL, *last = NULL;
    for (uint32_t i = HALF; i < FTL__QUEUE_SIZE; i++) {
        struct ftl_task *task =
            atomic_load_explicit(&queue->slots[(real + i) & MASK], memory_order_relaxed);
        if (last)
            last->queue_next = task;
        else
            first = task;
        last = task;
    }
    last->queue_next = NULL;
    /* The ring is empty and ours: slots [real, real + HALF) are, modulo its size, [tail, tail +
     * HALF). */
    atomic_store_explicit(&queue->tail, tail + HALF, memory_order_release);
    *ret_first = first;
    *ret_last = last;
    return HALF;
}

/* Claims half of `from` and copies it behind `to_tail`, unpublished. Returns how many. */
static uint32_t grab(struct ftl__queue *from, struct ftl__queue *to, uint32_t to_tail)
{
    uint64_t head = atomic_load_explicit(&from->head, memory_order_acquire);
    uint32_t real, n;
    for (;;) {
        real = real_of(head);
        if (steal_of(head) != real)
            return 0;
        /* acquire: pairs with the owner's release in push */
        uint32_t tail = atomic_load_explicit(&from->tail, memory_order_acquire);
        n = tail - real;
        if (n > FTL__QUEUE_SIZE) /* head is older than tail: it has moved, the swap would fail */
            n = 0;
        n -= n / 2;
        if (n == 0)
            return 0;
        if (atomic_compare_exchange_weak_explicit(&from->head, &head, pack(real, real + n),
                                                  memory_order_acq_rel, memory_order_acquire))
            break;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct ftl_task *task =
            atomic_load_explicit(&from->slots[(real + i) & MASK], memory_order_relaxed);
        atomic_store_explicit(&to->slots[(to_tail + i) & MASK], task, memory_order_relaxed);
    }
    /* The copies are made: catch the high half up. The owner may have popped meanwhile. */
    head = pack(real, real + n);
    uint64_t next;
    do {
        uint32_t now = real_of(head);
        next = pack(now, now);
        /* release: the owner overwrites these slots only after it has seen this */
    } while (!atomic_compare_exchange_weak_explicit(&from->head, &head, next, memory_order_acq_rel,
                                                    memory_order_acquire));
    return n;
}

struct ftl_task *ftl__queue_steal(struct ftl__queue *from, struct ftl__queue *to,
                                  uint32_t *ret_moved)
{
    uint32_t to_tail = atomic_load_explicit(&to->tail, memory_order_relaxed);
    uint64_t to_head = atomic_load_explicit(&to->head, memory_order_acquire);
    if (to_tail - steal_of(to_head) > HALF)
        return NULL;
    uint32_t n = grab(from, to, to_tail);
    if (n == 0)
        return NULL;
    n--; /* the last one is run at once */
    struct ftl_task *task =
        atomic_load_explicit(&to->slots[(to_tail + n) & MASK], memory_order_relaxed);
    if (n > 0)
        atomic_store_explicit(&to->tail, to_tail + n, memory_order_release);
    *ret_moved = n + 1;
    return task;
}

uint32_t ftl__queue_len(const struct ftl__queue *queue)
{
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);
    uint32_t len = tail - real_of(head);
    return len > FTL__QUEUE_SIZE ? FTL__QUEUE_SIZE : len; /* head is older than tail: there is
                                                             something */
}
