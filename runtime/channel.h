/* SPDX-License-Identifier: MIT
 *
 * Messages between tasks: a bounded channel (many senders, one receiver), a oneshot (one value,
 * once), a notify (a wake-up without a value). Thread-safe, across runtimes and from foreign
 * threads, which a wait blocks. `deadline` is in ns of ftl_now(), FTL_FOREVER for none; what is
 * returned through ret_* is untouched unless the call returns 0. */
#ifndef FETTLE_CHANNEL_H
#define FETTLE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/error.h>
#include <fettle/export.h>
#include <fettle/time.h>

/* ---- channel: bounded, pointers, first in, first out ----------------------------------- */

struct ftl_channel;

/* A channel of `capacity` ≥ 1 messages, counted references. `message_free` gets what is left when
 * the last reference goes, on whichever thread that is; may be NULL. NULL: out of memory, or no
 * capacity. */
FTL_API struct ftl_channel *ftl_channel_new(size_t capacity, void (*message_free)(void *message));
FTL_API struct ftl_channel *ftl_channel_ref(struct ftl_channel *channel);
FTL_API void ftl_channel_unref(struct ftl_channel *channel); /* NULL-safe */

/* Waits for room, then the channel owns `message`; who waits longest is let in first. FTL_ECLOSED,
 * FTL_ETIMEDOUT, FTL_ECANCELED: it is still the caller's. try: FTL_EAGAIN instead of waiting. */
FTL_API int ftl_channel_send(struct ftl_channel *channel, void *message, int64_t deadline);
FTL_API int ftl_channel_try_send(struct ftl_channel *channel, void *message);

/* Waits for a message, which is the caller's then. FTL_ECLOSED: closed and empty. FTL_ETIMEDOUT,
 * FTL_ECANCELED: none was taken; one that was granted to a receiver when its deadline or an abort
 * ended the wait goes back to the head. One receiver waits at a time: FTL_EINVAL while another one
 * does that has not been granted a message.
 * try: FTL_EAGAIN instead of waiting. */
FTL_API int ftl_channel_recv(struct ftl_channel *channel, int64_t deadline, void **ret_message);
FTL_API int ftl_channel_try_recv(struct ftl_channel *channel, void **ret_message);

/* Refuses further sends; what is in it can still be received. Wakes all waiters: senders have their
 * messages back. Once more: no-op. */
FTL_API void ftl_channel_close(struct ftl_channel *channel);
/* Messages in it, at this instant; without those of senders that wait. */
FTL_API size_t ftl_channel_len(const struct ftl_channel *channel);

/* ---- oneshot: storage of the caller, one value, one receiver ---------------------------- */

/* Embed it where both ends can reach it; it must outlive both calls. Zeroed = empty
 * (by ftl_oneshot_init(), calloc() or static storage: clang refuses `= {0}` for it). */
struct ftl_oneshot {
    void *_Atomic state;
    void *value;
};

FTL_API void ftl_oneshot_init(struct ftl_oneshot *oneshot);
/* Hands the value over; once (a second time panics the task). Never waits. After the receiver's return the sender touches
 * nothing. */
FTL_API void ftl_oneshot_send(struct ftl_oneshot *oneshot, void *value);
/* Waits for it. FTL_ETIMEDOUT, FTL_ECANCELED: nothing was taken, it may be repeated. FTL_EINVAL:
 * another receiver waits. */
FTL_API int ftl_oneshot_recv(struct ftl_oneshot *oneshot, int64_t deadline, void **ret_value);
FTL_API bool ftl_oneshot_is_sent(const struct ftl_oneshot *oneshot);

/* ---- notify: one stored wake-up, any number of waiters ----------------------------------- */

struct ftl_notify;

/* Nothing is stored. NULL: out of memory. */
FTL_API struct ftl_notify *ftl_notify_new(void);
FTL_API void ftl_notify_free(struct ftl_notify *notify); /* no call in progress; NULL-safe */
/* Wakes the longest waiter, or stores one wake-up for the next (never more than one). */
FTL_API void ftl_notify_one(struct ftl_notify *notify);
/* Wakes all that wait now; stores nothing. */
FTL_API void ftl_notify_all(struct ftl_notify *notify);
/* Takes what is stored, or waits. FTL_ETIMEDOUT, FTL_ECANCELED: no wake-up was taken; one that came
 * too late goes to the next. */
FTL_API int ftl_notify_wait(struct ftl_notify *notify, int64_t deadline);

#endif
