/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The pool grows in slabs, up to what the claims reserve, and keeps what it has: its bound
 * is the bound of the jobs in flight. A slot is taken at its claim and given back when Redis knows
 * the end of its run. In between, exactly one part owns it, the one that its state names: claim and
 * dispatch (CLAIMED), park (PARKED), the run's task and dispatch (RUNNING), settle (SETTLING). */
#include "daemon/slot.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/checksum.h"
#include "daemon/clock.h"
#include "daemon/ledger.h"
#include "daemon/park.h"
#include "daemon/queues.h"

#define SLAB_SLOTS 64
#define ROOM_LEAST 256
#define ROOM_KEPT 1024

struct slab {
    struct ftl__list link;
    struct ftl__slot slots[SLAB_SLOTS];
};

static const char *const state_names[FTL__SLOT_STATES] = {
    [FTL__SLOT_FREE] = "free",       [FTL__SLOT_CLAIMED] = "claimed",
    [FTL__SLOT_PARKED] = "parked",   [FTL__SLOT_RUNNING] = "running",
    [FTL__SLOT_SETTLING] = "settling",
};

/* edges[from] has a bit for each state that may follow. */
#define TO(state) (1U << FTL__SLOT_##state)
static const unsigned edges[FTL__SLOT_STATES] = {
    [FTL__SLOT_FREE] = TO(CLAIMED),
    [FTL__SLOT_CLAIMED] = TO(PARKED) | TO(RUNNING) | TO(SETTLING),
    [FTL__SLOT_PARKED] = TO(RUNNING) | TO(SETTLING),
    /* FREE: a success is told batch by batch; CLAIMED: begun again, elsewhere */
    [FTL__SLOT_RUNNING] = TO(SETTLING) | TO(FREE) | TO(CLAIMED),
    [FTL__SLOT_SETTLING] = TO(FREE),
};

const char *ftl__slot_state_name(enum ftl__slot_state state)
{
    return state_names[state];
}

void ftl__slot_set(struct ftl__slot *slot, enum ftl__slot_state state)
{
    if ((edges[slot->state] & (1U << state)) == 0)
        ftl_panic("slot: no way from %s to %s", state_names[slot->state], state_names[state]);
    slot->state = state;
}

void ftl__slots_init(struct ftl__slots *slots)
{
    memset(slots, 0, sizeof *slots);
    ftl__list_init(&slots->free);
    ftl__list_init(&slots->slabs);
}

static void clear(struct ftl__slot *slot)
{
    if (slot->run.bytes == slot->room)
        slot->run.bytes = NULL;
    ftl__run_clear(&slot->run);
    free(slot->result.bytes);
    if (slot->task != NULL)
        ftl_task_detach(slot->task);
}

void ftl__slots_free(struct ftl__slots *slots)
{
    struct ftl__list *node;

    while ((node = ftl__list_pop_front(&slots->slabs)) != NULL) {
        struct slab *slab = ftl__container(node, struct slab, link);
        for (size_t i = 0; i < SLAB_SLOTS; i++) {
            if (slab->slots[i].state != FTL__SLOT_FREE)
                clear(&slab->slots[i]);
            free(slab->slots[i].room);
        }
        free(slab);
    }
    ftl__slots_init(slots);
}

static int add_slab(struct ftl__slots *slots)
{
    struct slab *slab = calloc(1, sizeof *slab);

    if (slab == NULL)
        return FTL_ENOMEM;
    ftl__list_push_back(&slots->slabs, &slab->link);
    for (size_t i = 0; i < SLAB_SLOTS; i++)
        ftl__list_push_back(&slots->free, &slab->slots[i].link);
    slots->free_count += SLAB_SLOTS;
    slots->total += SLAB_SLOTS;
    return 0;
}

int ftl__slots_reserve(struct ftl__slots *slots, size_t count)
{
    while (slots->free_count < count)
        if (add_slab(slots) != 0)
            return FTL_ENOMEM;
    return 0;
}

/* Zeroes all but the buffers for names, which are large, and the scan, which is overwritten. */
static void reset(struct ftl__slot *slot)
{
    size_t after_run = offsetof(struct ftl__slot, link);

    memset((char *)slot + after_run, 0, sizeof *slot - after_run);
    slot->run.bytes = NULL;
    slot->run.class[0] = slot->run.jid[0] = '\0';
    slot->run.handler = NULL;
    slot->run.verdict = FTL__VERDICT_NONE;
    slot->run.place = FTL__PLACE_TASK;
    slot->run.deadline = FTL_FOREVER;
    slot->run.deadline_epoch = 0;
    memset(&slot->run.failure, 0, sizeof slot->run.failure);
    memset(slot->run.texts, 0, sizeof slot->run.texts);
    slot->run.backtrace = NULL;
    slot->run.backtrace_lines = 0;
    slot->run.lost = false;
    slot->run.logged = 0;
    slot->run.args = NULL;
}

struct ftl__slot *ftl__slots_take(struct ftl__slots *slots)
{
    struct ftl__list *node = ftl__list_pop_front(&slots->free);
    struct ftl__slot *slot;

    ftl_assert(node != NULL);
    slots->free_count--;
    /* The one after the next: the next one's link has just been written. */
    __builtin_prefetch(slots->free.next->next, 1);
    slot = ftl__container(node, struct ftl__slot, link);
    ftl_assert(slot->state == FTL__SLOT_FREE);
    reset(slot);
    ftl__slot_set(slot, FTL__SLOT_CLAIMED);
    return slot;
}

void ftl__slot_enter(struct ftl__slot *slot, struct ftl__batch *batch, uint32_t index)
{
    slot->batch = batch;
    slot->index = index;
    slot->queue = batch->queue;
    slot->run.queue = batch->queue->name;
    slot->run.token = batch->token + index;
}

static int make_room(struct ftl__slot *slot, size_t size)
{
    char *room;

    if (size <= slot->room_size)
        return 0;
    size = size < ROOM_LEAST ? ROOM_LEAST : size;
    room = realloc(slot->room, size);
    if (room == NULL)
        return FTL_ENOMEM;
    slot->room = room;
    slot->room_size = size;
    return 0;
}

int ftl__slot_set_bytes(struct ftl__slot *slot, const char *bytes, size_t size)
{
    int code = make_room(slot, size + 1);

    if (code != 0)
        return code;
    memcpy(slot->room, bytes, size);
    slot->room[size] = '\0';
    slot->run.bytes = slot->room;
    slot->run.size = size;
    slot->checksum = ftl__checksum(bytes, size);
    return 0;
}

/* What a large job needed is not kept. */
static void trim_room(struct ftl__slot *slot)
{
    if (slot->room_size <= ROOM_KEPT)
        return;
    free(slot->room);
    slot->room = NULL;
    slot->room_size = 0;
}

void ftl__slots_give(struct ftl__slots *slots, struct ftl__slot *slot)
{
    ftl_assert(!ftl__list_is_linked(&slot->link));
    ftl__slot_set(slot, FTL__SLOT_FREE);
    clear(slot);
    trim_room(slot);
    /* The warmest slot goes out first. */
    ftl__list_push_front(&slots->free, &slot->link);
    slots->free_count++;
}

void ftl__slot_give_permits(struct ftl__slot *slot)
{
    ftl_permit_release(&slot->queue_permit);
    ftl_permit_release(&slot->bound_permit);
    ftl_permit_release(&slot->shelter_permit);
}

bool ftl__slot_take_permits(struct ftl__slot *slot)
{
    bool taken =
        (slot->bound == NULL ||
         ftl_semaphore_try_acquire(slot->bound->semaphore, 1, &slot->bound_permit) == 0) &&
        (slot->shelter == NULL ||
         ftl_semaphore_try_acquire(slot->shelter->semaphore, 1, &slot->shelter_permit) == 0) &&
        (slot->queue->concurrency == 0 ||
         ftl_semaphore_try_acquire(slot->queue->semaphore, 1, &slot->queue_permit) == 0);

    if (!taken)
        ftl__slot_give_permits(slot);
    return taken;
}

void ftl__slot_set_deadline(struct ftl__slot *slot, const struct ftl__clock *clock, int64_t now)
{
    const struct ftl__handler *handler = slot->run.handler;

    if (handler->timeout <= 0)
        return;
    slot->run.deadline = now + (int64_t)(handler->timeout * (double)FTL_S);
    slot->run.deadline_epoch = ftl__clock_epoch(clock, slot->run.deadline);
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = (*(struct ftl__slot *const *)a)->run.token;
    uint64_t y = (*(struct ftl__slot *const *)b)->run.token;
    return x < y ? 1 : x > y ? -1 : 0;
}

void ftl__slots_sort(struct ftl__list *list)
{
    struct ftl__slot **slots;
    size_t count = 0, taken = 0;

    for (struct ftl__list *node = list->next; node != list; node = node->next)
        count++;
    slots = malloc((count + 1) * sizeof(struct ftl__slot *));
    if (slots == NULL)
        return;
    while (taken < count)
        slots[taken++] = ftl__container(ftl__list_pop_front(list), struct ftl__slot, link);
    qsort(slots, taken, sizeof *slots, newest_first);
    for (size_t i = 0; i < taken; i++)
        ftl__list_push_back(list, &slots[i]->link);
    free(slots);
}
