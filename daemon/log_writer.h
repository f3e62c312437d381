/* SPDX-License-Identifier: MIT
 *
 * Lines on their way to stderr. Whoever reads stderr may be slow, or have stopped reading: nobody
 * but one thread waits for that. */
#ifndef FETTLE_DAEMON_LOG_WRITER_H
#define FETTLE_DAEMON_LOG_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/line.h"

#define FTL__LOG_BUFFER (512 * 1024) /* bytes that wait at most, besides as many being written */

/* Until this call, lines are written where they are made; from here on by a thread of their own.
 * `describe` makes the line that stands where `count` lines are missing; it is called by that
 * thread. FTL_ESYS. */
int ftl__log_writer_start(void (*describe)(struct ftl__line *line, uint64_t count));

/* Waits until all is written, `timeout` ns at most. What is not written by then may be lost, and so
 * is what comes later; after a success lines are again written where they are made. Without a
 * start: no-op. */
void ftl__log_writer_stop(int64_t timeout);

/* Any thread. Takes the whole line, or drops and counts it: no room, or the thread is lost. Once it
 * is started, never waits. errno is kept. */
void ftl__log_write(const struct ftl__line *line);

#endif
