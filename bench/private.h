/* SPDX-License-Identifier: MIT
 *
 * What a bench starts for itself: a directory, a redis-server on a unix socket in it, a fettled on
 * that. All of it ends with the bench, however it ends. Whatever goes wrong ends the bench. */
#ifndef FETTLE_BENCH_PRIVATE_H
#define FETTLE_BENCH_PRIVATE_H

#include <stdint.h>
#include <sys/types.h>

#include <hiredis/hiredis.h>

struct bench_private {
    char dir[64], socket[96];
    pid_t owner; /* the process that cleans up */
    pid_t redis, fettled;
    int fettled_log; /* our end of fettled's stderr */
    redisContext *context;
};

/* Prints "NAME: …" and exits with 1; what `bench` started is stopped. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The directory and the redis-server, which answers when this returns. One at a time, in static storage:
 * at exit all of it is stopped and removed. */
void bench_private_open(struct bench_private *bench);

/* Starts fettled with this configuration text and waits until it says that it is ready. Its log is
 * kept small by the configuration: at most a pipe full of it is not read. */
void bench_private_fettled(struct bench_private *bench, const char *config);
/* Ends it as a service manager would; another can be started then. */
void bench_private_stop_fettled(struct bench_private *bench);

/* Another connection to the same server. */
redisContext *bench_connect(const struct bench_private *bench);

/* One command that must be answered without an error. */
redisReply *bench_call(redisContext *context, const char *format, ...);
/* The same, of which only an integer reply is of interest. */
long long bench_integer(redisContext *context, const char *format, ...);

/* A file for the jobs of tests/modules/probe.c: returns its cells, and names it in the environment
 * of the fettled that is started later. */
_Atomic int64_t *bench_probe(struct bench_private *bench, size_t cells);

/* The directory `name` of the build, from $BUILDDIR or from where the program lies. */
void bench_build_path(char *buf, size_t size, const char *name);

int64_t bench_now(void); /* ns of CLOCK_MONOTONIC */
void bench_sleep(int64_t ns);
int bench_compare_doubles(const void *left, const void *right); /* for qsort */

#endif
