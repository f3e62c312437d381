/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Whoever meets an error reply, or a class that stalls, meets it again, most of them every
 * second: the log would fill with what one line says. What was told in the last minute is remembered,
 * by a checksum of its text. There is no bound to what can be wrong at once (each queue, each class),
 * so there is one to what is told: when all places are taken, nothing new is told until the oldest is a
 * minute old. One process has one log, so there is one memory. Control runtime only: nothing is
 * locked, and nothing here waits. */
#include "daemon/complaint.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/checksum.h"
#include "daemon/log.h"

#define TEXT_MAX 256
#define AGAIN    (60 * FTL_S)

static struct {
    uint64_t sum;
    int64_t again; /* when it may be told again; in the past: free */
} told[FTL__COMPLAINTS_MAX];

bool ftl__complaint_is_news(const char *text)
{
    int64_t now = ftl_now();
    uint64_t sum = ftl__checksum(text, strnlen(text, TEXT_MAX - 1));
    size_t place = FTL__COMPLAINTS_MAX;
    for (size_t i = 0; i < FTL__COMPLAINTS_MAX; i++) {
        if (told[i].again <= now)
            place = i;
        else if (told[i].sum == sum)
            return false;
    }
    if (place == FTL__COMPLAINTS_MAX)
        return false;
    told[place].sum = sum;
    told[place].again = now + AGAIN;
    return true;
}

void ftl__complain(const char *command, const char *queue, const char *reason)
{
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "%s %s %s", command, queue != NULL ? queue : "", reason);
    if (ftl__complaint_is_news(text))
        ftl__log(FTL__EV_REDIS_ERROR, FTL__STR("command", command), FTL__STR("queue", queue),
                 FTL__STR("reason", reason));
}
