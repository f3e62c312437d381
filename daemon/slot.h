/* SPDX-License-Identifier: MIT
 *
 * A slot: one claimed job on its way through this daemon, with the storage of its run and permits.
 * Slots are pooled, with room for the bytes of a job of the usual size: the hot path allocates
 * nothing.
 * Control runtime only, except `run`, which belongs to the run's task while the slot is RUNNING. */
#ifndef FETTLE_DAEMON_SLOT_H
#define FETTLE_DAEMON_SLOT_H

#include <fettle/semaphore.h>

#include "jobs/run.h"
#include "runtime/list.h"

struct ftl__batch;
struct ftl__bound;
struct ftl__clock;
struct ftl__queue;

enum ftl__slot_state {
    FTL__SLOT_FREE,     /* in the pool                                       */
    FTL__SLOT_CLAIMED,  /* its job has been claimed and is looked at         */
    FTL__SLOT_PARKED,   /* waits for its handler's bound                     */
    FTL__SLOT_RUNNING,  /* its task has been spawned and not been joined     */
    FTL__SLOT_SETTLING, /* ended; Redis has not confirmed it                 */
    FTL__SLOT_STATES
};

/* How it ended, for the settle. */
enum ftl__end {
    FTL__END_FAILED,     /* run.failure: the retry rule decides               */
    FTL__END_UNROUTABLE, /* no handler here                                   */
    FTL__END_REFUSED,    /* a job that cannot be run: to dead, rewritten      */
    FTL__END_RAW,        /* no job at all: to dead, as it is                  */
    FTL__END_RETURNED,   /* back to the front of its queue, as it is          */
    FTL__END_CANCELLED,  /* by an operator: to dead, rewritten                */
    FTL__END_AGAIN,      /* was told before, and is brought back: as decided then */
};

struct ftl__slot {
    struct ftl_run run; /* first: what the task gets */
    char *room;         /* for the bytes of its job, of room_size; kept */
    size_t room_size;
    struct ftl__list link; /* from here on all is zeroed when it is taken */
    enum ftl__slot_state state;
    bool timed_out; /* asked to end at its deadline */
    bool moved;     /* begun again, elsewhere */
    bool cancelled; /* aborted because an operator wants that */
    bool fenced;    /* aborted because its job has gone to others */
    bool resent;    /* its settle may have been executed without our knowing */
    struct ftl__batch *batch;
    uint32_t index; /* in the batch */
    struct ftl__queue *queue;
    struct ftl__bound *bound; /* of its handler; NULL = none */
    struct ftl__bound *shelter; /* of suspects in children of their own; NULL: it is none */
    struct ftl_permit queue_permit, bound_permit, shelter_permit;
    struct ftl_task *task; /* a reference, of runs with a deadline; else NULL */
    int64_t since;         /* ftl_now() when it was parked or started; 0 = never started */
    int64_t ended_at;

    uint64_t checksum;     /* of the job's bytes, as they were claimed */
    enum ftl__end end;
    const char *end_class, *end_message; /* static; of FTL__END_REFUSED, _RAW and _RETURNED */
    size_t end_offset;
    struct ftl__retry_result result; /* of the rewrite; bytes == NULL: not made yet */
    bool decided;                    /* result is filled */
};

struct ftl__slots {
    struct ftl__list free;
    size_t free_count, total;
    struct ftl__list slabs;
};

void ftl__slots_init(struct ftl__slots *slots);
void ftl__slots_free(struct ftl__slots *slots); /* whatever state they are in */

/* Makes sure that `count` slots can be taken. FTL_ENOMEM. */
int ftl__slots_reserve(struct ftl__slots *slots, size_t count);
/* A CLAIMED one, zeroed where it matters; reserve() has been called. */
struct ftl__slot *ftl__slots_take(struct ftl__slots *slots);
/* It is that of this entry. */
void ftl__slot_enter(struct ftl__slot *slot, struct ftl__batch *batch, uint32_t index);
/* Copies the bytes of its job to where they belong. FTL_ENOMEM. */
int ftl__slot_set_bytes(struct ftl__slot *slot, const char *bytes, size_t size);
/* Clears what it owns and puts it back. It is in no list. */
void ftl__slots_give(struct ftl__slots *slots, struct ftl__slot *slot);

/* Where it waits while a bound is full; NULL: it has none. */
static inline struct ftl__bound *ftl__slot_bound(const struct ftl__slot *slot)
{
    return slot->shelter != NULL ? slot->shelter : slot->bound;
}

/* The permits of its queue and of its bounds: all, or none and false. */
bool ftl__slot_take_permits(struct ftl__slot *slot);
void ftl__slot_give_permits(struct ftl__slot *slot);
/* Of a run that begins now, by its handler's timeout. */
void ftl__slot_set_deadline(struct ftl__slot *slot, const struct ftl__clock *clock, int64_t now);

/* Puts a list of slots in the order of their tokens, the newest first; without memory for that it
 * stays as it is. */
void ftl__slots_sort(struct ftl__list *list);

/* The edges of the life cycle; an edge that is not in the table is a bug and panics. */
void ftl__slot_set(struct ftl__slot *slot, enum ftl__slot_state state);
const char *ftl__slot_state_name(enum ftl__slot_state state);

#endif
