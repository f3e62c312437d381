/* SPDX-License-Identifier: MIT
 *
 * A transaction: commands collected as bytes, sent as one MULTI … EXEC in one write. */
#ifndef FETTLE_DAEMON_TX_H
#define FETTLE_DAEMON_TX_H

#include <stdint.h>

#include "daemon/link.h"

struct ftl__tx;

int ftl__tx_open(struct ftl__tx **ret_tx); /* FTL_ENOMEM */
void ftl__tx_close(struct ftl__tx *tx);    /* NULL-safe */

/* Forgets what was collected. */
void ftl__tx_start(struct ftl__tx *tx);
/* A command as printf-like words, as in ftl__link_callf(). Errors come out of run(). */
void ftl__tx_put(struct ftl__tx *tx, const char *format, ...);
/* Sends it and waits. 0: executed (errors of single commands are logged). FTL_EPROTO: refused,
 * logged. Others as ftl__link_call(). Nothing collected: 0. */
int ftl__tx_run(struct ftl__tx *tx, struct ftl__link *link, int64_t deadline);

#endif
