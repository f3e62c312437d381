/* SPDX-License-Identifier: MIT
 *
 * One life of a worker process: what its branches share. Inside of worker_life.c, which starts, minds
 * and ends it, and worker_hear.c, which hears what it prints and says. */
#ifndef FETTLE_JOBS_WORKER_LIFE_H
#define FETTLE_JOBS_WORKER_LIFE_H

#include "jobs/lines.h"
#include "jobs/worker_process.h"

enum ftl__life_phase {
    FTL__LIFE_STARTING, /* has not said that it is ready, until `until` */
    FTL__LIFE_SERVING,
    FTL__LIFE_LEAVING, /* has nothing more to read, and should end by itself, until `until` */
    FTL__LIFE_ENDING,  /* was sent TERM, until `until` */
    FTL__LIFE_KILLED,
};

struct ftl__life;

struct ftl__life_output {
    struct ftl__life *life;
    struct ftl_fd *fd;
    enum ftl__stream stream;
    bool over;
    uint64_t begun; /* runs, when its bound was renewed */
    struct ftl__lines lines;
};

struct ftl__life {
    struct ftl__worker_process *worker;
    struct ftl__worker_pool *pool;
    struct ftl__worker_life *result;
    struct ftl_process *child;
    struct ftl_fd *in, *out; /* our ends of 3 and 4 */
    enum ftl__life_phase phase;
    int64_t began, until, ready_at; /* ready_at 0: it never was */
    bool ended;    /* the child has: `exit` */
    bool deaf;     /* nothing more will be heard */
    bool mute;     /* nothing more can be said */
    bool told;     /* its fault */
    bool rambling; /* what it says is not listened to any more */
    struct ftl_exit exit;
    struct ftl__life_output outputs[2];
    char *line; /* what was heard, up to an unfinished line */
    size_t size, room;
    char *sending;
    int64_t second; /* when its chatter was counted anew */
    uint32_t chatter, complaints, lines_logged;
};

void ftl__life_tell(const struct ftl__life *life, enum ftl__worker_event_kind kind,
                    const char *text, uint32_t runs, int64_t time);
/* Whoever minds the clock is to look. */
void ftl__life_wake(const struct ftl__life *life);

/* Branches (runtime/join.h), until there is nothing more to read: of an output (struct
 * ftl__life_output *), of descriptor 4 (struct ftl__life *). Return 0. */
int ftl__life_read_output(void *output);
int ftl__life_listen(void *life);
void ftl__life_init_output(struct ftl__life *life, size_t i, enum ftl__stream stream,
                           struct ftl_fd *fd);

#endif
