/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Two runtimes, as in the daemon. On control, whose tasks take turns: one who listens, one who
 * takes the ends of runs, one who speaks. On jobs: the runs, each on a thread of its own (blocking
 * tasks), so that one which spins or blocks holds up none of the others. What handlers log comes from
 * their threads, so what waits to be said is behind a lock.
 *
 * Faults that leave the process intact end their run with a backtrace. All others end the process by
 * their signal, which is what it is there for: its parent sees it, and starts another.
 *
 * When descriptor 3 is at its end, the parent has no more for us, or is gone: what still runs is
 * aborted, and has a second. */
#include "daemon/host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <fettle/channel.h>
#include <fettle/io.h>
#include <fettle/task_set.h>

#include "daemon/route.h"
#include "jobs/handler.h"
#include "jobs/worker_message.h"
#include "runtime/futex.h"
#include "runtime/list.h"

#define IN 3
#define OUT 4
#define ERROR_SIZE 1024
#define READ_SIZE 65536
#define LEAVE_TIME FTL_S
#define ASKED_TIME (7200 * FTL_S) /* longer than any kill_after */

struct host_run {
    struct ftl_run run; /* first: what the task gets */
    struct ftl__list link;
    struct ftl_task *task;
    bool asked; /* to end */
    char queue[FTL__QUEUE_MAX + 1];
};

struct host {
    const struct ftl__options *options;
    struct ftl_runtime *control, *jobs;
    struct ftl__handler *handler;
    struct ftl_fd *in, *out;
    struct ftl_task_set *set;
    struct ftl_notify *spawned;  /* wakes who takes the ends */
    struct ftl_notify *outgoing; /* wakes who speaks */
    struct ftl__list runs;
    char *line; /* what was heard */
    size_t size, room;
    bool closing;
    struct ftl__lock lock; /* guards what is to be said: */
    char *said;
    size_t said_size, said_room;
};

/* Without memory the process is of no use: its parent starts another. For tasks, too, in which _exit()
 * is a failed run. */
FTL_NORETURN static void give_up(void)
{
    for (;;)
        (void)syscall(SYS_exit_group, FTL__EXIT_LEFT);
}

/* ---- speaking ---------------------------------------------------------------------------- */

/* Takes the line over. */
static void say(struct host *host, int code, char *line, size_t size)
{
    size_t room;

    if (code != 0)
        give_up();
    ftl__lock_take(&host->lock);
    room = host->said_room;
    while (room < host->said_size + size)
        room = room == 0 ? 4096 : 2 * room;
    if (room > host->said_room) {
        host->said = realloc(host->said, room);
        host->said_room = room;
    }
    if (host->said == NULL)
        give_up();
    memcpy(host->said + host->said_size, line, size);
    host->said_size += size;
    ftl__lock_drop(&host->lock);
    free(line);
    ftl_notify_one(host->outgoing);
}

static void on_line(void *arg, const struct ftl_run *run, enum ftl__stream stream, const char *text,
                    size_t size)
{
    char *line = NULL;
    size_t line_size = 0;
    int code = ftl__worker_message_log(run, text, size, &line, &line_size);

    (void)stream;
    say(arg, code, line, line_size);
}

static char *take_said(struct host *host, size_t *ret_size)
{
    char *said;

    ftl__lock_take(&host->lock);
    said = host->said;
    *ret_size = host->said_size;
    host->said = NULL;
    host->said_size = host->said_room = 0;
    ftl__lock_drop(&host->lock);
    return said;
}

static void *speak(void *arg)
{
    struct host *host = arg;
    int code = 0;

    while (code == 0) {
        size_t size;
        char *said = take_said(host, &size);

        if (size == 0 && host->closing)
            break;
        code = size > 0 ? ftl_fd_write_all(host->out, said, size, FTL_FOREVER, NULL)
                        : ftl_notify_wait(host->outgoing, FTL_FOREVER);
        free(said);
    }
    return NULL;
}

/* ---- the end of a run -------------------------------------------------------------------- */

static void end_run(struct host *host, struct host_run *run, const struct ftl_outcome *outcome)
{
    char *line = NULL;
    size_t size = 0;
    int code;

    if (outcome->kind == FTL_PANICKED)
        ftl__run_panicked(&run->run, outcome->panic);
    else if (outcome->kind == FTL_CANCELLED)
        run->run.verdict = FTL__VERDICT_NONE;
    code = ftl__worker_message_end(&run->run, &line, &size);
    say(host, code, line, size);
    ftl__list_unlink(&run->link);
    ftl_task_detach(run->task);
    ftl__run_clear(&run->run);
    free(run);
}

static void *take_ends(void *arg)
{
    struct host *host = arg;
    int code = 0;

    while (code != FTL_ECANCELED) {
        struct ftl_outcome outcome;
        void *run;

        code = ftl_task_set_join_next(host->set, FTL_FOREVER, &outcome, &run);
        if (code == FTL_EEMPTY) {
            code = ftl_notify_wait(host->spawned, FTL_FOREVER);
        } else if (code == 0) {
            end_run(host, run, &outcome);
            ftl_outcome_clear(&outcome);
        }
    }
    return NULL;
}

/* ---- a run ------------------------------------------------------------------------------- */

static void decode(const struct ftl__slice *string, char *buf, size_t size)
{
    buf[0] = '\0';
    if (string->begin != NULL)
        (void)ftl__json_decode(string->begin + 1, string->size - 2, buf, size);
}

static int64_t deadline_of(double epoch)
{
    struct timespec now;
    double left;

    if (epoch <= 0)
        return FTL_FOREVER;
    clock_gettime(CLOCK_REALTIME, &now);
    left = epoch - (double)now.tv_sec - (double)now.tv_nsec / 1e9;
    return left > 0 ? ftl_deadline(ftl__seconds(left)) : ftl_now();
}

/* What the daemon would have filled in. FTL_ENOMEM; FTL_EPROTO: no job. */
static int fill(struct host *host, struct host_run *run, const struct ftl__worker_message *message)
{
    const struct ftl__job_limits limits = {message->job.size, FTL__ROUTE_DEPTH};
    struct ftl__job_error error;
    int code;

    run->run.bytes = malloc(message->job.size + 1);
    if (run->run.bytes == NULL)
        return FTL_ENOMEM;
    memcpy(run->run.bytes, message->job.begin, message->job.size);
    run->run.size = message->job.size;
    code = ftl__job_scan(run->run.bytes, run->run.size, &limits, &run->run.job, &error);
    if (code != 0)
        return code;
    decode(&message->class, run->run.class, sizeof run->run.class);
    if (message->class.begin == NULL)
        (void)ftl__job_string(&run->run.job, FTL__CLASS, run->run.class, sizeof run->run.class);
    (void)ftl__job_string(&run->run.job, FTL__JID, run->run.jid, sizeof run->run.jid);
    decode(&message->queue, run->queue, sizeof run->queue);
    run->run.queue = run->queue;
    run->run.token = message->number;
    run->run.attempt = message->attempt > 0 ? (uint32_t)message->attempt : 1;
    run->run.deadline = deadline_of(message->deadline);
    run->run.deadline_epoch = message->deadline;
    run->run.runtime = host->jobs;
    run->run.on_line = on_line;
    run->run.on_line_arg = host;
    return 0;
}

static void *refuse(void *arg)
{
    struct ftl_run *run = arg;

    (void)ftl_run_fail(run, "NoHandler", "the module has no class %s", run->class);
    return run;
}

static void start(struct host *host, const struct ftl__worker_message *message)
{
    const struct ftl_spawn_options options = {
        .name = "run", .blocking = true, .stack_size = host->options->host_stack};
    struct host_run *run = calloc(1, sizeof *run);
    bool known;

    if (run == NULL || message->job.begin == NULL || fill(host, run, message) != 0)
        give_up(); /* nobody of ours has sent that, or there is no memory */
    run->run.handler = ftl__handler_ref(host->handler);
    known = host->handler->kind->serves(host->handler, run->run.class, strlen(run->run.class));
    if (ftl_task_set_spawn(host->set, host->jobs, known ? ftl__run_main : refuse, &run->run, &options,
                           run, &run->task) != 0)
        give_up();
    ftl__list_push_back(&host->runs, &run->link);
    ftl_notify_one(host->spawned);
}

/* The first time it is asked, and has until the second, when its parent has waited long enough. */
static void cancel(struct host *host, uint64_t token)
{
    struct ftl__list *node = host->runs.next;

    for (; node != &host->runs; node = node->next) {
        struct host_run *run = ftl__container(node, struct host_run, link);
        if (run->run.token != token)
            continue;
        ftl_abort(run->task, run->asked ? 0 : ASKED_TIME);
        run->asked = true;
    }
}

/* ---- listening --------------------------------------------------------------------------- */

static void greet(struct host *host)
{
    char *line;
    int size = asprintf(&line, "{\"ready\":%u,\"protocol\":%d}\n", host->options->host_runs,
                        FTL__WORKER_PROTOCOL);

    say(host, size < 0 ? FTL_ENOMEM : 0, line, (size_t)size);
}

/* What else there is in a later protocol is passed over. */
static void hear(struct host *host, const char *line, size_t size)
{
    struct ftl__worker_message message;
    const char *reason;

    if (ftl__worker_message_read(line, size, &message, &reason) != 0)
        return;
    if (message.verb == FTL__WORKER_FETTLE)
        greet(host);
    else if (message.verb == FTL__WORKER_RUN)
        start(host, &message);
    else if (message.verb == FTL__WORKER_CANCEL)
        cancel(host, message.number);
}

static void hear_lines(struct host *host, size_t fresh)
{
    char *begin = host->line, *end = host->line + host->size, *from = end - fresh, *newline;

    while ((newline = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        hear(host, begin, (size_t)(newline - begin));
        begin = from = newline + 1;
    }
    host->size = (size_t)(end - begin);
    memmove(host->line, begin, host->size);
}

static void *listen_to(void *arg)
{
    struct host *host = arg;
    ssize_t size;

    do {
        if (host->room - host->size < READ_SIZE) {
            host->room = 2 * host->room + READ_SIZE;
            host->line = realloc(host->line, host->room);
            if (host->line == NULL)
                give_up();
        }
        size = ftl_fd_read(host->in, host->line + host->size, READ_SIZE, FTL_FOREVER, NULL);
        if (size > 0) {
            host->size += (size_t)size;
            hear_lines(host, (size_t)size);
        }
    } while (size > 0);
    ftl_task_set_abort_all(host->set, 0);
    host->closing = true;
    ftl_notify_one(host->outgoing);
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

static int complain(const char *what, int code)
{
    fprintf(stderr, "fettled: --host: %s: %s\n", what,
            code == FTL_ESYS ? strerror(errno) : ftl_error_text(code));
    return FTL__EXIT_CONFIG;
}

static int open_host(struct host *host)
{
    const struct ftl_runtime_options control = {
        .name = "control", .serial = true, .unmonitored = true};
    const struct ftl_runtime_options jobs = {
        .name = "jobs", .workers = 1, .containment = FTL_CONTAIN_CLEAN};
    int code = ftl_runtime_start(&control, &host->control);

    if (code == 0)
        code = ftl_runtime_start(&jobs, &host->jobs);
    if (code == 0)
        code = ftl_fd_open(host->control, IN, &host->in);
    if (code == 0)
        code = ftl_fd_open(host->control, OUT, &host->out);
    ftl__list_init(&host->runs);
    host->set = ftl_task_set_new();
    host->spawned = ftl_notify_new();
    host->outgoing = ftl_notify_new();
    if (code == 0 && (host->set == NULL || host->spawned == NULL || host->outgoing == NULL))
        code = FTL_ENOMEM;
    return code;
}

/* Waits until descriptor 3 is at its end, and what was said by then is written. */
static int serve(struct host *host)
{
    static const struct {
        const char *name;
        ftl_task_fn fn;
    } tasks[] = {{"listener", listen_to}, {"ends", take_ends}, {"speaker", speak}};
    struct ftl_task *handles[3] = {NULL};
    struct ftl_outcome outcome;
    int code = 0;

    for (size_t i = 0; i < sizeof tasks / sizeof *tasks && code == 0; i++) {
        const struct ftl_spawn_options options = {.name = tasks[i].name};
        code = ftl_spawn(host->control, tasks[i].fn, host, &options, &handles[i]);
    }
    if (code != 0)
        return code;
    code = ftl_task_join(handles[0], FTL_FOREVER, &outcome);
    ftl_outcome_clear(&outcome);
    if (ftl_task_join(handles[2], ftl_deadline(LEAVE_TIME), &outcome) == 0)
        ftl_outcome_clear(&outcome);
    return code;
}

/* In order, if all runs end. */
static int close_host(struct host *host)
{
    bool ended = ftl_runtime_shutdown(host->jobs, ftl_deadline(LEAVE_TIME)) == 0 &&
                 ftl_runtime_shutdown(host->control, ftl_deadline(LEAVE_TIME)) == 0;

    return ended ? FTL__EXIT_OK : FTL__EXIT_LEFT;
}

int ftl__host_main(const struct ftl__options *options)
{
    static struct host host;
    const struct ftl__handler_settings settings = {.pattern = "*"};
    char error[ERROR_SIZE];
    int code;

    host.options = options;
    if (fcntl(IN, F_GETFD) < 0 || fcntl(OUT, F_GETFD) < 0)
        return complain("descriptors 3 and 4 are its parent's", FTL_ESYS);
    prctl(PR_SET_NAME, "fettled-host");
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (ftl__native_new(&settings, options->host_module, NULL, 0, &host.handler, error,
                        sizeof error) != 0) {
        fprintf(stderr, "fettled: --host: %s\n", error);
        return FTL__EXIT_CONFIG;
    }
    code = open_host(&host);
    if (code == 0)
        code = serve(&host);
    if (code != 0)
        return complain("cannot start", code);
    return close_host(&host);
}
