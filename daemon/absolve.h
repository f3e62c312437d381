/* SPDX-License-Identifier: MIT
 *
 * Absolving: we were fenced as an owner, and live. That its jobs were taken from it must not count
 * as a death. */
#ifndef FETTLE_DAEMON_ABSOLVE_H
#define FETTLE_DAEMON_ABSOLVE_H

#include "daemon/reap.h"

/* Takes back what was counted as the death of `id`. 0; FTL_EAGAIN: it has batches that are still to
 * be reaped, and to be counted; or what ended it early. It may be repeated. `invoke` is scratch. */
int ftl__absolve(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
                 const char *id);

#endif
