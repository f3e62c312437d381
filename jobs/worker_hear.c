/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What comes from a worker process. What it prints becomes lines of the log; what it says on
 * descriptor 4 is taken apart, and ends runs. Both are branches of its task, never parallel.
 *
 * What has been printed is read before what has been said: a line belongs to the run that was the only
 * one when it was printed. What is wrong is told, and passed over or a reason to end the process,
 * which is the business of whoever minds the clock (worker_life.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/worker_life.h"
#include "jobs/worker_message.h"

#define LINE_LIMIT      (1 << 20) /* bytes of a message */
#define LINE_FIRST      65536     /* that are allocated */
#define CHATTER         1000      /* messages a second that end no run */
#define LINES_A_CHAT    10        /* so many lines for the log count as one */
#define COMPLAINTS      100       /* wrong messages until we part */
#define COMPLAINTS_TOLD 10

/* ---- stdout and stderr ------------------------------------------------------------------ */

static void emit(void *arg, const char *line, size_t size)
{
    const struct ftl__life_output *output = arg;
    const struct ftl__life *life = output->life;
    const struct ftl__worker_item *item = ftl__worker_pool_only(life->worker);
    const struct ftl_run *run = item != NULL ? item->run : NULL;

    if (run == NULL) {
        const struct ftl__worker_event event = {
            .kind = output->stream == FTL__STREAM_STDOUT ? FTL__WORKER_STDOUT : FTL__WORKER_STDERR,
            .name = life->pool->name,
            .pid = ftl_process_pid(life->child),
            .text = line,
            .size = size};

        life->pool->host.on_worker(life->pool->host.arg, &event);
    } else if (run->on_line != NULL) {
        run->on_line(run->on_line_arg, run, output->stream, line, size);
    }
}

/* Each run may print as much as a command may. */
static void feed(struct ftl__life_output *output, const char *bytes, size_t size)
{
    struct ftl__worker_pool *pool = output->life->pool;
    uint64_t begun;

    ftl__lock_take(&pool->lock);
    begun = output->life->worker->begun;
    ftl__lock_drop(&pool->lock);
    if (begun != output->begun) {
        output->begun = begun;
        output->lines.given = 0;
        output->lines.dropping = false;
    }
    ftl__lines_feed(&output->lines, bytes, size);
}

int ftl__life_read_output(void *arg)
{
    struct ftl__life_output *output = arg;
    char bytes[4096];
    ssize_t size;

    while ((size = ftl_fd_read(output->fd, bytes, sizeof(bytes), FTL_FOREVER, NULL)) > 0) {
        feed(output, bytes, (size_t)size);
    }
    ftl__lines_end(&output->lines);
    output->over = true;
    ftl__life_wake(output->life);
    return 0;
}

/* What is there already. The branch that reads this output is waiting meanwhile; its end of file is
 * left to it. */
static void drain(struct ftl__life_output *output)
{
    char bytes[4096];
    size_t most = FTL__OUTPUT_MAX;
    ssize_t size = 1;

    while (!output->over && size > 0 && most > sizeof(bytes)) {
        size = read(ftl_fd_number(output->fd), bytes, sizeof(bytes));
        if (size > 0) {
            feed(output, bytes, (size_t)size);
            most -= (size_t)size;
        }
    }
}

void ftl__life_init_output(struct ftl__life *life, size_t i, enum ftl__stream stream,
                           struct ftl_fd *fd)
{
    struct ftl__life_output *output = &life->outputs[i];

    output->life = life;
    output->fd = fd;
    output->stream = stream;
    output->lines.emit = emit;
    output->lines.arg = output;
}

/* ---- what it says ----------------------------------------------------------------------- */

static void complain(struct ftl__life *life, const char *reason, uint64_t token)
{
    char text[FTL__WORKER_REASON];

    (void)snprintf(text, sizeof(text), "%s (token %llu)", reason, (unsigned long long)token);
    life->chatter++;
    if (++life->complaints <= COMPLAINTS_TOLD) {
        ftl__life_tell(life, FTL__WORKER_COMPLAINT, token != 0 ? text : reason, 0, 0);
    } else if (life->complaints > COMPLAINTS) {
        ftl__worker_pool_fault(life->worker, "it has said %d things that are wrong", COMPLAINTS);
    }
}

static void break_off(struct ftl__life *life, const char *reason)
{
    life->rambling = true;
    ftl__worker_pool_fault(life->worker, "%s", reason);
}

static void become_ready(struct ftl__life *life, const struct ftl__worker_message *message)
{
    char text[FTL__WORKER_REASON];

    if (message->protocol != FTL__WORKER_PROTOCOL) {
        (void)snprintf(text, sizeof(text), "it speaks protocol %llu, not %d",
                       (unsigned long long)message->protocol, FTL__WORKER_PROTOCOL);
        break_off(life, text);
        return;
    }
    if (message->number < 1 || message->number > FTL__WORKER_PLACES) {
        (void)snprintf(text, sizeof(text), "it is ready for %llu runs at once: 1 to %d can be",
                       (unsigned long long)message->number, FTL__WORKER_PLACES);
        break_off(life, text);
        return;
    }
    if (life->phase != FTL__LIFE_STARTING) {
        return; /* it is to end already */
    }
    life->phase = FTL__LIFE_SERVING;
    life->until = FTL_FOREVER;
    life->ready_at = ftl_now();
    ftl__life_wake(life); /* it need not look at that clock any more */
    ftl__life_tell(life, FTL__WORKER_UP, NULL, (uint32_t)message->number,
                   life->ready_at - life->began);
    ftl__worker_pool_open(life->worker, (uint32_t)message->number);
}

static void hear_progress(struct ftl__life *life, const struct ftl__worker_message *message)
{
    const struct ftl__worker_item *item = ftl__worker_pool_find(life->worker, message->number);
    char text[FTL__WORKER_REASON] = "";

    if (item == NULL) {
        complain(life, "progress of a run that it does not have", message->number);
        return;
    }
    life->chatter++;
    if (message->text.begin != NULL) {
        (void)ftl__json_decode(message->text.begin + 1, message->text.size - 2, text, sizeof(text));
    }
    life->pool->host.on_worker(life->pool->host.arg,
                               &(struct ftl__worker_event){.kind = FTL__WORKER_AT,
                                                           .name = life->pool->name,
                                                           .pid = ftl_process_pid(life->child),
                                                           .text = text[0] != '\0' ? text : NULL,
                                                           .run = item->run,
                                                           .at = message->at,
                                                           .total = message->total});
}

static void hear_log(struct ftl__life *life, const struct ftl__worker_message *message)
{
    const struct ftl__worker_item *item = ftl__worker_pool_find(life->worker, message->number);
    char text[FTL__LINE_MAX];
    size_t size;

    if (item == NULL) {
        complain(life, "a line of a run that it does not have", message->number);
        return;
    }
    life->chatter += ++life->lines_logged % LINES_A_CHAT == 0;
    if (message->text.begin != NULL && item->run->on_line != NULL) {
        size =
            ftl__json_decode(message->text.begin + 1, message->text.size - 2, text, sizeof(text));
        item->run->on_line(item->run->on_line_arg, item->run, FTL__STREAM_LOG, text, size);
    }
}

static void hear_end(struct ftl__life *life, const struct ftl__worker_message *message)
{
    struct ftl__worker_item *item = ftl__worker_pool_take(life->worker, message->number);

    if (item == NULL) {
        complain(life, "the end of a run that it does not have", message->number);
        return;
    }
    if (message->verb == FTL__WORKER_FAILED) {
        ftl__worker_message_fail(message, item->run);
        ftl__worker_pool_end(item, FTL__WORKER_HAS_FAILED);
    } else {
        ftl__worker_pool_end(item, message->verb == FTL__WORKER_DONE ? FTL__WORKER_HAS_DONE
                                                                     : FTL__WORKER_HAS_CANCELLED);
    }
}

static void hear(struct ftl__life *life, const char *line, size_t size)
{
    struct ftl__worker_message message;
    char text[FTL__WORKER_REASON];
    const char *reason;
    int rc = ftl__worker_message_read(line, size, &message, &reason);

    if (rc == FTL_EPROTO || rc == FTL_ELIMIT) {
        (void)snprintf(text, sizeof(text), "it has said what is no JSON: %s", reason);
        break_off(life, text);
    } else if (life->ready_at == 0 && (rc != 0 || message.verb != FTL__WORKER_READY)) {
        break_off(life, "it has said something else before it was ready");
    } else if (rc != 0 || message.verb >= FTL__WORKER_FETTLE) {
        complain(life, rc != 0 ? reason : "what only fettled says", 0);
    } else if (life->ready_at == 0) {
        become_ready(life, &message);
    } else if (message.verb == FTL__WORKER_READY) {
        complain(life, "it was ready before", 0);
    } else if (message.verb == FTL__WORKER_PROGRESS) {
        hear_progress(life, &message);
    } else if (message.verb == FTL__WORKER_LOG) {
        hear_log(life, &message);
    } else {
        hear_end(life, &message);
    }
}

static void hear_lines(struct ftl__life *life, size_t fresh)
{
    const char *line = life->line, *end = life->line + life->size;
    const char *from = end - fresh, *newline;

    while (!life->rambling && (newline = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        hear(life, line, (size_t)(newline - line));
        line = from = newline + 1;
    }
    if (life->rambling) {
        line = end;
    }
    life->size = (size_t)(end - line);
    memmove(life->line, line, life->size);
}

/* Room for more of a line; false: it is too long. */
static bool make_room(struct ftl__life *life)
{
    size_t room = life->room < LINE_FIRST ? LINE_FIRST : 2 * life->room;
    char *line;

    if (life->size < life->room) {
        return true;
    }
    if (life->room >= LINE_LIMIT) {
        ftl__worker_pool_fault(life->worker, "it has said more than %d bytes in one line",
                               LINE_LIMIT);
        return false;
    }
    line = realloc(life->line, room);
    if (line == NULL) {
        ftl__worker_pool_fault(life->worker, "%s", ftl_error_text(FTL_ENOMEM));
        return false;
    }
    life->line = line;
    life->room = room;
    return true;
}

/* Who talks too much is listened to more slowly: its pipe is full, and it must wait. */
static void slow_down(struct ftl__life *life)
{
    int64_t now = ftl_now();

    if (life->chatter >= CHATTER) {
        (void)ftl_sleep_until(life->second + FTL_S);
    }
    if (life->chatter >= CHATTER || now >= life->second + FTL_S) {
        life->second = ftl_now();
        life->chatter = 0;
    }
}

int ftl__life_listen(void *arg)
{
    struct ftl__life *life = arg;
    ssize_t size;

    for (;;) {
        if (!make_room(life)) {
            life->rambling = true;
            life->size = 0;
        }
        size = ftl_fd_read(life->out, life->line + life->size, life->room - life->size, FTL_FOREVER,
                           NULL);
        if (size <= 0) {
            break;
        }
        life->size += (size_t)size;
        drain(&life->outputs[0]);
        drain(&life->outputs[1]);
        hear_lines(life, (size_t)size);
        slow_down(life);
    }
    life->deaf = true;
    ftl__life_wake(life);
    return 0;
}
