/* SPDX-License-Identifier: MIT
 *
 * What the log says about jobs: one function for each event of docs/log.md. Nothing is formatted
 * when the event is off. */
#ifndef FETTLE_DAEMON_REPORT_H
#define FETTLE_DAEMON_REPORT_H

#include <fettle/task.h>

#include "daemon/ledger.h"
#include "daemon/slot.h"
#include "jobs/handler.h"

/* Control runtime. */
void ftl__report_started(const struct ftl__slot *slot);
void ftl__report_done(const struct ftl__slot *slot);
void ftl__report_panic(const struct ftl_run *run, const struct ftl_panic *panic);
void ftl__report_fault(const struct ftl_run *run, const struct ftl_panic *panic);
/* A fault that was contained in a child process, which has told of it. */
void ftl__report_child_fault(const struct ftl_run *run);
/* A task that keeps its worker; `slot` NULL: it is no run, or not known. */
struct ftl_stall;
void ftl__report_stalled(const struct ftl__slot *slot, const struct ftl_stall *stall);
/* The runs of its class go to the blocking pool from now on. */
void ftl__report_moved(const struct ftl__slot *slot);
/* A run that does not come back, `now` since its start. */
void ftl__report_stuck(const struct ftl__slot *slot, int64_t now);
/* The end of anything but a success, once Redis has it. */
void ftl__report_end(const struct ftl__slot *slot);
/* It could not be settled: others have the job. */
void ftl__report_refused(const struct ftl__slot *slot, const char *reason);
/* The same for a success whose slot is gone already. */
void ftl__report_success_refused(const struct ftl__batch *batch, uint32_t index,
                                 const char *reason);

/* Any thread: what ftl__handler_host.on_worker is told. */
void ftl__report_worker(void *arg, const struct ftl__worker_event *event);

/* Any thread: ftl__line_fn. */
void ftl__report_line(void *arg, const struct ftl_run *run, enum ftl__stream stream,
                      const char *line, size_t size);

#endif
