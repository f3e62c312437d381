/* SPDX-License-Identifier: MIT
 *
 * A worker's run queue: a bounded ring that its owner fills and empties, first in, first out, and
 * that others steal from by halves. The design is Tokio's
 * (runtime/scheduler/multi_thread/queue.rs): no resizing, hence no reclamation; 32-bit positions,
 * hence no confusion of full and empty. */
#ifndef FETTLE_RUNTIME_QUEUE_H
#define FETTLE_RUNTIME_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ftl_task;

#ifndef FTL__QUEUE_SIZE
#define FTL__QUEUE_SIZE 256u /* a power of two */
#endif

struct ftl__queue {
    /* Low half: the next to be taken. High half: the same, or, while a thief copies, where it
     * began: slots between the two are not yet free. */
    _Alignas(128) _Atomic uint64_t head;
    /* The next free slot. Written by the owner only. */
    _Alignas(128) _Atomic uint32_t tail;
    struct ftl_task *slots[FTL__QUEUE_SIZE];
};

void ftl__queue_init(struct ftl__queue *queue);

/* Owner. Appends; false if there is no room (a thief's copy in progress counts as none). */
bool ftl__queue_push(struct ftl__queue *queue, struct ftl_task *task);
/* Owner. The oldest, or NULL. */
struct ftl_task *ftl__queue_pop(struct ftl__queue *queue);
/* Owner. Takes the newer half out, linked by queue_next, oldest first; 0 if it is not full or a
 * thief is at work. */
uint32_t ftl__queue_shed(struct ftl__queue *queue, struct ftl_task **ret_first,
                         struct ftl_task **ret_last);
/* The owner of `to`, which has at most half of its slots in use. Moves half of what `from` holds;
 * returns one of them to run at once, the rest is in `to`. NULL: nothing, or another thief is at
 * work. */
struct ftl_task *ftl__queue_steal(struct ftl__queue *from, struct ftl__queue *to,
                                  uint32_t *ret_moved);
/* Any thread, a hint. */
uint32_t ftl__queue_len(const struct ftl__queue *queue);

#endif
