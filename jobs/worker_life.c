/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One worker process from its start to its end. Its task has a branch for each thing that waits:
 * who listens (descriptor 4), who speaks (descriptor 3), who reads stdout, who reads stderr, who
 * waits for the end of the child, and who minds the clock. Branches are never parallel, so what is
 * here is theirs without locks; what runs share with it is the pool's.
 *
 * Whatever goes wrong is a reason, noted by whoever meets it; only the one who minds the clock acts
 * on it: no more runs, TERM, KILL. It also has the last word: when the child has ended it kills what
 * is left of the group, waits until all that was said has been heard, and ends the other branches.
 *
 * One defer ends everything on each way out. Then runs that are left are lost, and told so. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fettle/join.h>

#include "jobs/ending.h"
#include "jobs/worker_life.h"
#include "jobs/worker_message.h"

#define CHUNK     65536 /* bytes that are written within start_timeout */
#define END_GRACE FTL_S /* from a closed descriptor to the end that explains it */
#define COLLECT   FTL_S /* for what is on its way after the end of the child */
#define HURRY     (FTL__STOP_GRACE / 5 * 2) /* twice: to end by itself, and by TERM */
#define OF_USE    (10 * FTL_S)              /* for a process that had no run */
#define LAST_WORDS 150 /* bytes of its stderr that tell how it ended */

void ftl__life_tell(const struct ftl__life *life, enum ftl__worker_event_kind kind,
                    const char *text, uint32_t runs, int64_t time)
{
    const struct ftl__worker_event event = {.kind = kind,
                                            .name = life->pool->name,
                                            .pid = ftl_process_pid(life->child),
                                            .text = text,
                                            .runs = runs,
                                            .time = time};

    life->pool->host.on_worker(life->pool->host.arg, &event);
}

void ftl__life_wake(const struct ftl__life *life)
{
    ftl_notify_one(life->worker->changed);
}

/* ---- what it is told -------------------------------------------------------------------- */

/* What there is to write, all of it at once. The buffer goes back when it was written. */
static size_t take_outgoing(struct ftl__life *life)
{
    struct ftl__worker_process *worker = life->worker;
    size_t size;

    ftl__lock_take(&life->pool->lock);
    size = worker->out_size;
    if (size > 0) {
        life->sending = worker->out;
        worker->out = NULL;
        worker->out_size = worker->out_room = 0;
    }
    ftl__lock_drop(&life->pool->lock);
    return size;
}

static int write_chunks(struct ftl__life *life, size_t size)
{
    for (size_t at = 0; at < size && life->in != NULL; at += CHUNK) {
        size_t chunk = size - at < CHUNK ? size - at : CHUNK;
        int rc = ftl_fd_write_all(life->in, life->sending + at, chunk,
                                  ftl_deadline(life->pool->start_timeout), NULL);

        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int speak_to(void *arg)
{
    struct ftl__life *life = arg;
    int rc = 0;

    while (rc == 0 && life->in != NULL) {
        size_t size = take_outgoing(life);

        rc = size > 0 ? write_chunks(life, size)
                      : ftl_notify_wait(life->worker->outgoing, FTL_FOREVER);
        free(life->sending);
        life->sending = NULL;
    }
    if (rc == FTL_ETIMEDOUT) {
        ftl__worker_pool_fault(life->worker, "it has not read what it was given for %g s",
                               (double)life->pool->start_timeout / (double)FTL_S);
    }
    life->mute = rc != 0;
    ftl__life_wake(life);
    return 0;
}

/* ---- the clock -------------------------------------------------------------------------- */

static int await_end(void *arg)
{
    struct ftl__life *life = arg;

    life->ended = ftl_process_wait(life->child, FTL_FOREVER, &life->exit) == 0;
    ftl__life_wake(life);
    return 0;
}

struct asked {
    bool stop, hurry, faulty;
    int64_t grace;
    uint32_t runs;
};

static struct asked what_is_asked(struct ftl__life *life)
{
    struct asked asked;

    ftl__lock_take(&life->pool->lock);
    asked = (struct asked){.stop = life->pool->stopping,
                           .hurry = life->pool->hurry,
                           .faulty = life->worker->faulty,
                           .grace = life->worker->grace,
                           .runs = life->worker->runs};
    ftl__lock_drop(&life->pool->lock);
    return asked;
}

static void set_phase(struct ftl__life *life, enum ftl__life_phase phase, int64_t grace)
{
    life->phase = phase;
    life->until = ftl_deadline(grace);
}

static void say_goodbye(struct ftl__life *life, const struct asked *asked)
{
    ftl__worker_pool_close(life->worker);
    ftl_fd_close(life->in);
    life->in = NULL;
    ftl_notify_one(life->worker->outgoing);
    life->result->wanted = true;
    set_phase(life, FTL__LIFE_LEAVING, asked->hurry ? HURRY : life->pool->kill_after);
}

static void terminate(struct ftl__life *life, int64_t grace)
{
    ftl__worker_pool_close(life->worker);
    ftl_process_kill(life->child, SIGTERM);
    set_phase(life, FTL__LIFE_ENDING, grace);
}

/* It has closed a descriptor; its end, if it comes, explains why. */
static void expect_end(struct ftl__life *life)
{
    ftl__worker_pool_close(life->worker);
    set_phase(life, FTL__LIFE_LEAVING, END_GRACE);
}

/* What its time being over means. */
static void run_out(struct ftl__life *life, const struct asked *asked)
{
    if (life->phase == FTL__LIFE_STARTING) {
        ftl__worker_pool_fault(life->worker, "it has not said that it is ready for %g s",
                               (double)life->pool->start_timeout / (double)FTL_S);
    } else if (life->phase == FTL__LIFE_LEAVING && life->result->wanted) {
        terminate(life, asked->hurry ? HURRY : life->pool->kill_after);
    } else if (life->phase == FTL__LIFE_LEAVING) {
        ftl__worker_pool_fault(life->worker, "it has closed descriptor %d", life->deaf ? 4 : 3);
    } else if (life->phase == FTL__LIFE_ENDING) {
        ftl_process_kill(life->child, SIGKILL);
        set_phase(life, FTL__LIFE_KILLED, FTL_FOREVER);
    }
}

/* One step of the way down; true: there may be another. */
static bool step(struct ftl__life *life)
{
    struct asked asked = what_is_asked(life);
    enum ftl__life_phase before = life->phase;

    if (asked.faulty && !life->told) {
        life->told = true;
        ftl__life_tell(life, FTL__WORKER_FAULT, life->worker->fault, asked.runs, 0);
    }
    if (asked.faulty && life->phase < FTL__LIFE_ENDING) {
        terminate(life, asked.grace);
    } else if (asked.faulty && life->phase == FTL__LIFE_ENDING &&
               ftl_deadline(asked.grace) < life->until) {
        set_phase(life, FTL__LIFE_ENDING, asked.grace); /* there is less time than there was */
    } else if (asked.stop && asked.runs == 0 && life->phase < FTL__LIFE_LEAVING) {
        say_goodbye(life, &asked);
    } else if (asked.hurry && life->phase < FTL__LIFE_KILLED && life->phase >= FTL__LIFE_LEAVING &&
               ftl_deadline(HURRY) < life->until) {
        set_phase(life, life->phase, HURRY);
    } else if ((life->deaf || life->mute) && life->phase < FTL__LIFE_LEAVING) {
        expect_end(life);
    } else if (ftl_now() >= life->until) {
        run_out(life, &asked);
        return true;
    }
    return life->phase != before;
}

static bool has_been_heard(const struct ftl__life *life)
{
    return life->deaf && life->outputs[0].over && life->outputs[1].over;
}

/* Returns when the child has ended and all has been heard: that ends the other branches. */
static int mind(void *arg)
{
    struct ftl__life *life = arg;
    int64_t until;
    int rc = 0;

    while (!life->ended && rc != FTL_ECANCELED) {
        while (!life->ended && step(life)) {
            continue;
        }
        if (!life->ended) {
            rc = ftl_notify_wait(life->worker->changed, life->until);
        }
    }
    ftl__worker_pool_close(life->worker);
    ftl_process_kill(life->child, SIGKILL);
    until = ftl_deadline(COLLECT);
    while (!has_been_heard(life) && rc != FTL_ECANCELED && ftl_now() < until) {
        rc = ftl_notify_wait(life->worker->changed, until);
    }
    return FTL_ECLOSED;
}

/* ---- start ------------------------------------------------------------------------------ */

static int adopt(struct ftl__life *life, int fd, struct ftl_fd **ret_fd, int *ret_errno)
{
    int rc = ftl_fd_open(life->pool->host.runtime, fd, ret_fd);

    if (rc != 0) {
        *ret_errno = rc == FTL_ENOMEM ? ENOMEM : errno;
        close(fd);
    }
    return rc;
}

/* Takes ours[] over, whatever happens; theirs[] stay the caller's. */
static int start_with(struct ftl__life *life, const int theirs[2], const int ours[2],
                      int *ret_errno)
{
    const struct ftl__invocation *program = &life->pool->program;
    const struct ftl_process_options options = {
        .argv = (const char *const *)program->argv,
        .envp = (const char *const *)program->env,
        .cwd = program->cwd,
        .in = FTL_STDIO_NULL,
        .out = FTL_STDIO_PIPE,
        .err = FTL_STDIO_PIPE,
        .limits = life->pool->limits,
        .fds = theirs,
        .fd_count = 2,
    };
    int rc = adopt(life, ours[0], &life->in, ret_errno);

    if (rc != 0) {
        close(ours[1]);
        return rc;
    }
    rc = adopt(life, ours[1], &life->out, ret_errno);
    return rc != 0 ? rc
                   : ftl_process_start(life->pool->host.runtime, &options, &life->child, ret_errno);
}

static int start_child(struct ftl__life *life, int *ret_errno)
{
    int in[2], out[2], rc;

    if (pipe2(in, O_CLOEXEC) != 0) {
        *ret_errno = errno;
        return FTL_ESYS;
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        *ret_errno = errno;
        close(in[0]);
        close(in[1]);
        return FTL_ESYS;
    }
    rc = start_with(life, (const int[]){in[0], out[1]}, (const int[]){in[1], out[0]}, ret_errno);
    close(in[0]);
    close(out[1]);
    return rc;
}

/* What was left over from an earlier life is not for this one. */
static int say_hello(struct ftl__life *life)
{
    struct ftl__worker_process *worker = life->worker;
    int rc;

    ftl__lock_take(&life->pool->lock);
    worker->out_size = 0;
    worker->begun = 0;
    worker->faulty = false;
    rc = ftl__worker_pool_append(worker, FTL__WORKER_HELLO, strlen(FTL__WORKER_HELLO));
    ftl__lock_drop(&life->pool->lock);
    return rc;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* Only where the task is cut off. */
static void put_down(struct ftl__life *life)
{
    struct ftl_exit exit;

    ftl_process_kill(life->child, SIGTERM);
    if (ftl_process_wait(life->child, ftl_deadline(HURRY), &exit) != 0) {
        ftl_process_kill(life->child, SIGKILL);
        (void)ftl_process_wait(life->child, FTL_FOREVER, &exit);
    }
}

/* Why, for a run that was in it. */
static void lose(struct ftl__life *life, struct ftl__worker_item *item)
{
    const struct ftl__worker_process *worker = life->worker;
    struct ftl_run *run = item->run;
    char what[FTL__ENDING_MAX];
    const char *tail, *error_class;
    size_t size;

    if (what_is_asked(life).faulty) {
        (void)ftl_run_fail(run, "WorkerError", "its worker was ended: %s", worker->fault);
        if (worker->guilty != 0 && item->cancelled == 0) {
            run->failure.later = FTL__WORKER_INNOCENT;
        }
    } else if (life->ended) {
        tail = ftl__lines_tail(&life->outputs[1].lines, &size);
        error_class = ftl__ending(&life->exit, &life->pool->limits, what);
        (void)ftl__ending_fail(run, error_class, what, tail, size);
        run->lost = true;
    } else {
        (void)ftl_run_fail(run, "WorkerError", "its worker was ended");
    }
    ftl__worker_pool_end(item, FTL__WORKER_HAS_FAILED);
}

/* The defer. */
static void end_life(void *arg)
{
    struct ftl__life *life = arg;
    struct ftl__worker_item *item;

    ftl_mask();
    ftl__worker_pool_close(life->worker);
    if (life->child != NULL && !life->ended) {
        put_down(life);
    }
    while ((item = ftl__worker_pool_take_any(life->worker)) != NULL) {
        life->result->lost++;
        lose(life, item);
    }
    ftl_process_free(life->child);
    ftl_fd_close(life->in);
    ftl_fd_close(life->out);
    ftl_unmask();
    free(life->line);
    free(life->sending);
    free(life);
}

/* The end of the last lines, from the start of one that begins there, if one does. */
static const char *last_words(const struct ftl__life *life, int *ret_size)
{
    size_t size;
    const char *tail = ftl__lines_tail(&life->outputs[1].lines, &size);

    if (size > LAST_WORDS) {
        const char *end = tail + size, *from = end - LAST_WORDS;
        const char *newline = memchr(from - 1, '\n', LAST_WORDS);

        tail = newline != NULL ? newline + 1 : from;
        while (((unsigned char)*tail & 0xc0) == 0x80) {
            tail++; /* not in the middle of a character */
        }
        size = (size_t)(end - tail);
    }
    *ret_size = (int)size;
    return tail;
}

static void describe(struct ftl__life *life)
{
    struct ftl__worker_life *result = life->result;
    char what[FTL__ENDING_MAX];

    result->duration = ftl_now() - life->began;
    result->runs = life->worker->begun;
    result->of_use =
        life->ready_at != 0 && (life->worker->begun > 0 || ftl_now() - life->ready_at >= OF_USE);
    (void)ftl__ending(&life->exit, &life->pool->limits, what);
    if (what_is_asked(life).faulty) {
        (void)snprintf(result->ending, sizeof(result->ending), "%s: %.100s", what,
                       life->worker->fault);
    } else {
        int size;
        const char *words = last_words(life, &size);

        (void)snprintf(result->ending, sizeof(result->ending), "%s%s%.*s", what,
                       size > 0 ? ": " : "", size, words);
    }
}

static int run_life(struct ftl__life *life)
{
    struct ftl_branch branches[] = {
        {.fn = mind, .arg = life},
        {.fn = ftl__life_listen, .arg = life},
        {.fn = speak_to, .arg = life},
        {.fn = ftl__life_read_output, .arg = &life->outputs[0]},
        {.fn = ftl__life_read_output, .arg = &life->outputs[1]},
        {.fn = await_end, .arg = life},
    };
    int rc;

    ftl__life_init_output(life, 0, FTL__STREAM_STDOUT, ftl_process_stdout(life->child));
    ftl__life_init_output(life, 1, FTL__STREAM_STDERR, ftl_process_stderr(life->child));
    life->result->pid = ftl_process_pid(life->child);
    life->began = life->second = ftl_now();
    set_phase(life, FTL__LIFE_STARTING, life->pool->start_timeout);
    rc = say_hello(life);
    if (rc == 0) {
        rc = ftl_try_join(branches, sizeof(branches) / sizeof(branches[0]), NULL);
    }
    if (rc == FTL_ECLOSED) {
        describe(life);
        return 0;
    }
    (void)snprintf(life->result->ending, sizeof(life->result->ending), "%s", ftl_error_text(rc));
    return rc == FTL_ECANCELED ? rc : 0;
}

int ftl__worker_live(struct ftl__worker_process *process, struct ftl__worker_life *ret_life)
{
    struct ftl__life *life = calloc(1, sizeof(*life));
    int error = ENOMEM, rc;

    *ret_life = (struct ftl__worker_life){.pid = 0};
    if (life == NULL) {
        (void)snprintf(ret_life->ending, sizeof(ret_life->ending), "%s", strerrordesc_np(ENOMEM));
        return 0;
    }
    life->worker = process;
    life->pool = process->pool;
    life->result = ret_life;
    FTL_DEFER(end_life, life);
    rc = start_child(life, &error);
    if (rc != 0) {
        (void)snprintf(ret_life->ending, sizeof(ret_life->ending), "%.150s cannot be started: %s",
                       process->pool->program.argv[0],
                       rc == FTL_ESYS ? strerrordesc_np(error) : ftl_error_text(rc));
        return rc == FTL_ECANCELED || rc == FTL_ESHUTDOWN ? rc : 0;
    }
    return run_life(life);
}
