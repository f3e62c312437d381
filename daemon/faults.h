/* SPDX-License-Identifier: MIT
 *
 * Faults that were contained, in tasks of the jobs runtime and in child processes, counted by
 * class. */
#ifndef FETTLE_DAEMON_FAULTS_H
#define FETTLE_DAEMON_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FTL__FAULT_CLASSES = 10 };

/* Zeroed = none. */
struct ftl__faults {
    _Atomic uint64_t count[FTL__FAULT_CLASSES];
    _Atomic bool tainted;      /* one may have damaged memory: the process is to begin anew */
    _Atomic unsigned patience; /* seconds that it may take for that */
};

/* One more of this class (runtime/runtime.h, interpose.c). Any thread, a tainted one as well. */
void ftl__faults_count(struct ftl__faults *faults, const char *class);
/* Is this the error class of a fault? */
bool ftl__faults_is_crash(const char *error_class);
/* Logs how many of each there have been, if there were any. */
void ftl__faults_log(const struct ftl__faults *faults);

#endif
