/* SPDX-License-Identifier: MIT
 *
 * Randomness for waits, so that many daemons do not act in step. */
#ifndef FETTLE_DAEMON_JITTER_H
#define FETTLE_DAEMON_JITTER_H

#include <stdint.h>

/* Between 0 and `below` ns. Never fails, never blocks: no secret depends on it. */
int64_t ftl__jitter(int64_t below);

#endif
