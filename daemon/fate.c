/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Translates the end of a slot into one operation of settle.lua, by the retry rule of
 * jobs/. A decision is made once and kept, so that a settle that is sent again is the same settle.
 * No Redis and no waiting here. */
#include "daemon/fate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <fettle/time.h>

static uint64_t random_bits(void)
{
    uint64_t bits;

    /* Only jitter and uniqueness hang on it: an early boot without entropy may use the clock. */
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits)
        bits = (uint64_t)ftl_now() * UINT64_C(0x9e3779b97f4a7c15);
    return bits;
}

static int rewrite(struct ftl__slot *slot, const struct ftl__retry_input *input)
{
    const struct ftl_run *run = &slot->run;

    switch (slot->end) {
    case FTL__END_FAILED:
        return ftl__retry_failed(&run->job, &run->failure, input, &slot->result);
    case FTL__END_UNROUTABLE:
        return ftl__retry_unroutable(&run->job, input, &slot->result);
    case FTL__END_CANCELLED:
        return ftl__retry_cancelled(&run->job, run->token, input, &slot->result);
    default:
        ftl_assert(slot->end == FTL__END_REFUSED);
        return ftl__retry_refused(&run->job, slot->end_class, slot->end_message, input,
                                  &slot->result);
    }
}

/* Bytes that are no job go to dead as they are: the result has none of its own. */
static int decide(struct ftl__slot *slot, double now, double unroutable_ttl)
{
    struct ftl__retry_input input = {
        .now = now,
        .random = random_bits(),
        .queue = slot->run.queue,
        .unroutable_ttl = unroutable_ttl,
    };

    if (slot->end == FTL__END_RETURNED)
        return 0;
    if (slot->end == FTL__END_RAW) {
        slot->result = (struct ftl__retry_result){.fate = FTL__FATE_DEAD, .score = now};
        return 0;
    }
    return rewrite(slot, &input);
}

int ftl__fate_decide(struct ftl__slot *slot, double now, double unroutable_ttl,
                     struct ftl__operation *ret_operation)
{
    struct ftl__operation operation = {.action = FTL__ACTION_DONE};
    int code;

    if (!slot->decided) {
        code = decide(slot, now, unroutable_ttl);
        if (code != 0)
            return code;
        slot->decided = true;
    }
    if (slot->end == FTL__END_RETURNED) {
        operation.action = FTL__ACTION_PUSH;
    } else if (slot->result.fate != FTL__FATE_DROP) {
        operation.action = FTL__ACTION_ZADD;
        operation.set = slot->result.fate == FTL__FATE_RETRY ? "retry" : "dead";
        operation.score = slot->result.score;
        operation.payload = slot->result.bytes;
        operation.payload_size = slot->result.size;
    }
    *ret_operation = operation;
    return 0;
}

void ftl__fate_forget(struct ftl__slot *slot)
{
    free(slot->result.bytes);
    memset(&slot->result, 0, sizeof slot->result);
    slot->decided = false;
}

bool ftl__fate_stays(const struct ftl__slot *slot)
{
    return slot->end == FTL__END_RETURNED || slot->result.fate != FTL__FATE_DROP;
}
