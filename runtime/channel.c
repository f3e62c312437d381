/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A bounded channel: a ring of pointers under a lock, one waiting receiver, a queue of waiting
 * senders. A message goes to a waiting receiver directly; a waiting sender's message enters the
 * ring, in the sender's turn, when there is room. What was handed to a receiver whom an abort or
 * deadline reached first goes back to the head, for which the ring keeps one slot more than its
 * capacity. It is out until its receiver goes on; the next one may wait meanwhile, and be handed another,
 * so there may be several out. The second and each further one takes up room in the ring: whatever
 * comes back finds a place. */
#include <fettle/channel.h>

#include <stdlib.h>

#include "runtime/wait.h"

struct ftl_channel {
    _Atomic uint32_t refs;
    struct ftl__lock lock; /* guards all below */
    bool closed;
    struct ftl__waiter *receiver;
    struct ftl__list senders; /* waiters; item = the message */
    void (*message_free)(void *message);
    size_t capacity, slots; /* slots = capacity + 1 */
    size_t head, len;
    size_t out; /* handed over, and neither taken nor given back; len + out <= slots */
    void *ring[];
};

static char closed_mark; /* item of a waiter who was woken by the close */

struct ftl_channel *ftl_channel_new(size_t capacity, void (*message_free)(void *message))
{
    if (capacity == 0 || capacity > SIZE_MAX / sizeof(void *) / 2)
        return NULL;
    struct ftl_channel *channel = calloc(1, sizeof *channel + (capacity + 1) * sizeof(void *));
    if (!channel)
        return NULL;
    atomic_init(&channel->refs, 1);
    ftl__list_init(&channel->senders);
    channel->message_free = message_free;
    channel->capacity = capacity;
    channel->slots = capacity + 1;
    return channel;
}

struct ftl_channel *ftl_channel_ref(struct ftl_channel *channel)
{
    atomic_fetch_add_explicit(&channel->refs, 1, memory_order_relaxed);
    return channel;
}

/* Of a position less than twice the slots: a division would take as long as all the rest. */
static size_t slot(const struct ftl_channel *channel, size_t position)
{
    return position < channel->slots ? position : position - channel->slots;
}

static void put_tail(struct ftl_channel *channel, void *message)
{
    channel->ring[slot(channel, channel->head + channel->len++)] = message;
}

static void put_back(struct ftl_channel *channel, void *message)
{
    channel->out--;
    channel->head = slot(channel, channel->head + channel->slots - 1);
    channel->ring[channel->head] = message;
    channel->len++;
}

static void *get_head(struct ftl_channel *channel)
{
    void *message = channel->ring[channel->head];
    channel->head = slot(channel, channel->head + 1);
    channel->len--;
    return message;
}

void ftl_channel_unref(struct ftl_channel *channel)
{
    if (!channel || atomic_fetch_sub_explicit(&channel->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (channel->len > 0) {
        void *message = get_head(channel);
        if (channel->message_free)
            channel->message_free(message);
    }
    free(channel);
}

/* With the lock held and a receiver waiting. */
static void hand_over(struct ftl_channel *channel, void *message, struct ftl__wakes *wakes)
{
    struct ftl__waiter *receiver = channel->receiver;
    channel->receiver = NULL;
    receiver->item = message;
    ftl__waiter_grant(receiver, wakes);
}

/* With the lock held, and nobody waiting who would come first. False: there is no room. */
static bool place(struct ftl_channel *channel, void *message, struct ftl__wakes *wakes)
{
    size_t out = channel->out;
    if (channel->len + (out > 1 ? out : 1) > channel->capacity)
        return false;
    if (channel->receiver) { /* the ring is empty */
        channel->out++;
        hand_over(channel, message, wakes);
    } else {
        put_tail(channel, message);
    }
    return true;
}

/* With the lock held: lets senders in as far as there is room. */
static void admit(struct ftl_channel *channel, struct ftl__wakes *wakes)
{
    while (!ftl__list_is_empty(&channel->senders)) {
        struct ftl__waiter *sender =
            ftl__container(channel->senders.next, struct ftl__waiter, link);
        if (!place(channel, sender->item, wakes))
            return;
        ftl__list_unlink(&sender->link);
        ftl__waiter_grant(sender, wakes);
    }
}

/* With the lock held. 0: delivered. */
static int deliver(struct ftl_channel *channel, void *message, struct ftl__wakes *wakes)
{
    if (channel->closed)
        return FTL_ECLOSED;
    if (!ftl__list_is_empty(&channel->senders) || !place(channel, message, wakes))
        return FTL_EAGAIN;
    return 0;
}

int ftl_channel_try_send(struct ftl_channel *channel, void *message)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    int rc = deliver(channel, message, &wakes);
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
    return rc;
}

/* A sender's wait has ended otherwise. True: its message is still its own. */
static bool withdraw_sender(struct ftl_channel *channel, struct ftl__waiter *waiter)
{
    ftl__lock_take(&channel->lock);
    bool standing = ftl__list_is_linked(&waiter->link);
    if (standing)
        ftl__list_unlink(&waiter->link);
    ftl__lock_drop(&channel->lock);
    return standing;
}

int ftl_channel_send(struct ftl_channel *channel, void *message, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl__waiter waiter;
    struct ftl__wakes wakes;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    rc = deliver(channel, message, &wakes);
    if (rc == FTL_EAGAIN) {
        ftl__waiter_init(&waiter, strand);
        waiter.item = message;
        ftl__list_push_back(&channel->senders, &waiter.link);
    }
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
    if (rc != FTL_EAGAIN)
        return rc;
    rc = ftl__waiter_wait(&waiter, deadline);
    if (rc != 0 && withdraw_sender(channel, &waiter))
        return ftl__wait_result(strand, rc);
    return waiter.item == &closed_mark ? FTL_ECLOSED : 0;
}

/* With the lock held. */
static int receive(struct ftl_channel *channel, void **ret_message, struct ftl__wakes *wakes)
{
    if (channel->len == 0)
        return channel->closed ? FTL_ECLOSED : FTL_EAGAIN;
    *ret_message = get_head(channel);
    admit(channel, wakes);
    return 0;
}

int ftl_channel_try_recv(struct ftl_channel *channel, void **ret_message)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    int rc = receive(channel, ret_message, &wakes);
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
    return rc;
}

/* The receiver's wait has ended otherwise: what was handed to it meanwhile goes back to the head,
 * or to the next receiver if that waits already. */
static void withdraw_receiver(struct ftl_channel *channel, struct ftl__waiter *waiter)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    if (channel->receiver == waiter)
        channel->receiver = NULL;
    else if (waiter->item != &closed_mark && channel->receiver)
        hand_over(channel, waiter->item, &wakes); /* it stays out */
    else if (waiter->item != &closed_mark)
        put_back(channel, waiter->item);
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
}

/* What was handed over is taken: there may be room for another. */
static void taken(struct ftl_channel *channel)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    channel->out--;
    admit(channel, &wakes);
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
}

int ftl_channel_recv(struct ftl_channel *channel, int64_t deadline, void **ret_message)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl__waiter waiter;
    struct ftl__wakes wakes;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    rc = receive(channel, ret_message, &wakes);
    if (rc == FTL_EAGAIN && channel->receiver) {
        rc = FTL_EINVAL;
    } else if (rc == FTL_EAGAIN) {
        ftl__waiter_init(&waiter, strand);
        channel->receiver = &waiter;
    }
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
    if (rc != FTL_EAGAIN)
        return rc;
    rc = ftl__waiter_wait(&waiter, deadline);
    if (rc != 0) {
        withdraw_receiver(channel, &waiter);
        return ftl__wait_result(strand, rc);
    }
    if (waiter.item == &closed_mark)
        return FTL_ECLOSED;
    *ret_message = waiter.item;
    taken(channel);
    return 0;
}

void ftl_channel_close(struct ftl_channel *channel)
{
    struct ftl__wakes wakes;
    struct ftl__list *node;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&channel->lock);
    channel->closed = true;
    while ((node = ftl__list_pop_front(&channel->senders)) != NULL) {
        struct ftl__waiter *sender = ftl__container(node, struct ftl__waiter, link);
        sender->item = &closed_mark;
        ftl__waiter_grant(sender, &wakes);
    }
    if (channel->receiver) {
        channel->receiver->item = &closed_mark;
        ftl__waiter_grant(channel->receiver, &wakes);
        channel->receiver = NULL;
    }
    ftl__lock_drop(&channel->lock);
    ftl__wakes_submit(&wakes);
}

size_t ftl_channel_len(const struct ftl_channel *channel)
{
    struct ftl_channel *mutable = (struct ftl_channel *)(uintptr_t)channel; /* for its lock */
    ftl__lock_take(&mutable->lock);
    size_t len = channel->len;
    ftl__lock_drop(&mutable->lock);
    return len;
}
