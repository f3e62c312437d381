/* SPDX-License-Identifier: MIT
 *
 * A run as the daemon makes it, for tests of handlers; and the lines that it prints. */
#ifndef FETTLE_TESTS_RUN_FIXTURE_H
#define FETTLE_TESTS_RUN_FIXTURE_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/handler.h"
#include "jobs/run.h"
#include "tests/unit/task_fixture.h"

/* Lines, each as "log|text\n", "out|text\n", "err|text\n"; helper tasks write it at the same time. */
struct printed {
    pthread_mutex_t lock;
    size_t count, size;
    char text[8192]; /* the first of them */
};

static inline void printed_line(void *arg, const struct ftl_run *run, enum ftl__stream stream,
                                const char *line, size_t size)
{
    static const char *const names[] = {"log", "out", "err"};
    struct printed *printed = arg;
    size_t room;
    int n;

    (void)run;
    pthread_mutex_lock(&printed->lock);
    printed->count++;
    room = sizeof(printed->text) - printed->size;
    n = snprintf(printed->text + printed->size, room, "%s|%.*s\n", names[stream], (int)size, line);
    if (n > 0 && (size_t)n < room)
        printed->size += (size_t)n;
    pthread_mutex_unlock(&printed->lock);
}

/* Whether something like this was printed by now. */
static inline bool printed_has(struct printed *printed, const char *text)
{
    bool found;

    pthread_mutex_lock(&printed->lock);
    found = strstr(printed->text, text) != NULL;
    pthread_mutex_unlock(&printed->lock);
    return found;
}

static struct printed run_printed = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Fills *run with a job; the reference to the handler (or NULL) is the run's from here on. */
static inline void run_fill(struct ftl_run *run, const char *text, struct ftl__handler *handler)
{
    static const struct ftl__job_limits limits = {.max_bytes = 1 << 20, .max_depth = 1000};
    struct ftl__job_error error;

    memset(run, 0, sizeof(*run));
    run->bytes = strdup(text);
    run->size = strlen(text);
    ck_assert_int_eq(ftl__job_scan(run->bytes, run->size, &limits, &run->job, &error), 0);
    (void)ftl__job_string(&run->job, FTL__CLASS, run->class, sizeof(run->class));
    (void)ftl__job_string(&run->job, FTL__JID, run->jid, sizeof(run->jid));
    run->queue = "default";
    run->token = 1795200000000001;
    run->attempt = 1;
    run->deadline = FTL_FOREVER;
    run->handler = handler;
    run->runtime = fixture_runtime;
    run->on_line = printed_line;
    run->on_line_arg = &run_printed;
    memset(run_printed.text, 0, sizeof(run_printed.text));
    run_printed.size = run_printed.count = 0;
}

/* One attempt from start to end; how its task has ended. */
static inline enum ftl_outcome_kind run_attempt(struct ftl_run *run)
{
    return fixture_join(fixture_spawn(ftl__run_main, run));
}

#endif
