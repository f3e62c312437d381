/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Whoever meets an error reply, or a class that stalls, meets it again, most of them every second: the log would fill
 * with what one line says. The last complaints are remembered by what they said; a new one takes
 * the place of the oldest. One process has one log, so there is one memory. Control runtime only:
 * nothing is locked, and nothing here waits. */
#include "daemon/complaint.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/log.h"

#define REMEMBERED 32
#define AGAIN      (60 * FTL_S)

static struct {
    char text[256];
    int64_t again; /* when it may be told again; 0: free */
} told[REMEMBERED];

bool ftl__complaint_is_news(const char *text)
{
    int64_t now = ftl_now();
    size_t oldest = 0;
    for (size_t i = 0; i < REMEMBERED; i++) {
        if (strcmp(told[i].text, text) == 0 && told[i].again > now)
            return false;
        if (told[i].again < told[oldest].again)
            oldest = i;
    }
    snprintf(told[oldest].text, sizeof told[oldest].text, "%s", text);
    told[oldest].again = now + AGAIN;
    return true;
}

void ftl__complain(const char *command, const char *queue, const char *reason)
{
    char text[sizeof told[0].text];
    snprintf(text, sizeof text, "%s %s %s", command, queue != NULL ? queue : "", reason);
    if (ftl__complaint_is_news(text))
        ftl__log(FTL__EV_REDIS_ERROR, FTL__STR("command", command), FTL__STR("queue", queue),
                 FTL__STR("reason", reason));
}
