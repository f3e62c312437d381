/* SPDX-License-Identifier: MIT
 *
 * DESIGN: getrandom(2) once per wait; early at boot, when it would block, the clock's low bits do. */
#include "daemon/jitter.h"

#include <sys/random.h>

#include <fettle/time.h>

int64_t ftl__jitter(int64_t below)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        random = (uint32_t)ftl_now() * 2654435761u;
    return (int64_t)((double)below * random / UINT32_MAX);
}
