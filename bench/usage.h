/* SPDX-License-Identifier: MIT
 *
 * Processor time that processes have used, by thread. */
#ifndef FETTLE_BENCH_USAGE_H
#define FETTLE_BENCH_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* Nanoseconds of all threads of a process whose names begin with `name` (""; all of them), ended
 * ones left out. 0 where the kernel does not tell. */
int64_t usage_of(pid_t pid, const char *name);

#endif
