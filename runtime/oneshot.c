/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One word: 0 (nothing yet), the waiting receiver, or SENT. The sender's exchange is its last touch
 * of the oneshot; of the receiver's waiter it is the grant, before which the receiver does not go
 * on. */
#include <fettle/channel.h>

#include "runtime/wait.h"

static char sent_mark;
#define SENT ((void *)&sent_mark)

void ftl_oneshot_init(struct ftl_oneshot *oneshot)
{
    atomic_init(&oneshot->state, NULL);
    oneshot->value = NULL;
}

void ftl_oneshot_send(struct ftl_oneshot *oneshot, void *value)
{
    struct ftl__wakes wakes;
    oneshot->value = value;
    /* release: publishes the value. acquire: sees the waiter. */
    void *old = atomic_exchange_explicit(&oneshot->state, SENT, memory_order_acq_rel);
    ftl_assert(old != SENT);
    if (!old)
        return;
    ftl__wakes_init(&wakes);
    ftl__waiter_grant(old, &wakes);
    ftl__wakes_submit(&wakes);
}

bool ftl_oneshot_is_sent(const struct ftl_oneshot *oneshot)
{
    return atomic_load_explicit(&oneshot->state, memory_order_acquire) == SENT;
}

int ftl_oneshot_recv(struct ftl_oneshot *oneshot, int64_t deadline, void **ret_value)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl__waiter waiter;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    if (!ftl_oneshot_is_sent(oneshot)) {
        ftl__waiter_init(&waiter, strand);
        void *state = NULL;
        if (atomic_compare_exchange_strong_explicit(&oneshot->state, &state, &waiter,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            rc = ftl__waiter_wait(&waiter, deadline);
            state = &waiter;
            if (rc != 0 &&
                /* relaxed: it takes back what is its own, or ftl__waiter_settle() acquires */
                atomic_compare_exchange_strong_explicit(&oneshot->state, &state, NULL,
                                                        memory_order_relaxed, memory_order_relaxed))
                return ftl__wait_result(strand, rc);
            ftl__waiter_settle(&waiter);
            if (rc == FTL_ECANCELED) /* the value stays where it is */
                return ftl__wait_result(strand, rc);
        } else if (state != SENT) {
            return FTL_EINVAL; /* another receiver waits */
        }
    }
    *ret_value = oneshot->value;
    return 0;
}
