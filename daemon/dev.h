/* SPDX-License-Identifier: MIT
 *
 * --dev: a private redis-server on a unix socket, and the configuration that goes with it. Called
 * by main() before any thread is started, and after the last one has ended. */
#ifndef FETTLE_DAEMON_DEV_H
#define FETTLE_DAEMON_DEV_H

#include <stddef.h>
#include <sys/types.h>

struct ftl__dev;

/* Starts redis-server with its files in `dir` (made if it is not there; what is in it is kept and
 * used again; refused while another one uses it), or in a temporary directory that goes with it (NULL), and waits until it listens.
 * FTL_EINVAL, FTL_ESYS, FTL_ENOMEM: `error` has one line. */
int ftl__dev_start(const char *dir, struct ftl__dev **ret_dev, char *error, size_t error_size);
/* Before the process begins anew: the server stays, and the next one takes it over. Its pid; NULL: 0. */
pid_t ftl__dev_keep(const struct ftl__dev *dev);
/* Stops it and waits for its end. NULL-safe. */
void ftl__dev_stop(struct ftl__dev *dev);

/* The text of the configuration. */
const char *ftl__dev_config(const struct ftl__dev *dev);
/* Says on stdout how to enqueue. */
void ftl__dev_announce(const struct ftl__dev *dev);

#endif
