/* SPDX-License-Identifier: MIT
 *
 * The signals that operators send: TERM, INT, TSTP, HUP, TTIN, read from a signalfd by a task of
 * the control runtime. */
#ifndef FETTLE_DAEMON_SIGNALS_H
#define FETTLE_DAEMON_SIGNALS_H

#include <fettle/runtime.h>

/* Blocks them in the calling thread, and so in all threads that it starts later; ignores SIGPIPE.
 * SIGCHLD gets its default. Before anything else. */
void ftl__signals_block(void);

struct ftl__signals;

struct ftl__signals_options {
    struct ftl_runtime *runtime; /* control */
    void (*on_signal)(void *arg, int signal); /* in a task of its own; must not wait */
    void *arg;
};

/* FTL_ENOMEM, FTL_ESYS. */
int ftl__signals_open(const struct ftl__signals_options *options,
                      struct ftl__signals **ret_signals);
void ftl__signals_close(struct ftl__signals *signals); /* NULL-safe */

/* "SIGTERM" and so on; "a signal" for others. */
const char *ftl__signal_name(int signal);

#endif
