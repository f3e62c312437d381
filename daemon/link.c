/* SPDX-License-Identifier: MIT
 *
 * DESIGN: the life of a connection. One task per link dials, greets (and calls on_up), waits until
 * the connection breaks, clears up and tries again: it owns the descriptor. For each connection it
 * starts a reader and a writer. All run on control, one at a time, so the fields need no lock; what
 * a task has looked at holds until its next wait.
 *
 * Calls in flight (flight.c) stand in the order of their replies. Whoever finds the connection
 * unusable (reader, writer, a caller whose deadline has passed) breaks it: the calls fail at once,
 * the clearing up is left to the owner. There is no watchdog: each call is waited for, and its
 * waiter is its watchdog.
 *
 * A server that has become a replica (READONLY) is of no use: the connection is broken, in the hope
 * to be led elsewhere, which sentinels do.
 *
 * Not here: bytes (wire.c), sockets (dial.c), what is said first (greeting.c), who waits for which
 * reply (flight.c), what to do when Redis has forgotten us (on_up). */
#include "daemon/link.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/complaint.h"
#include "daemon/dial.h"
#include "daemon/flight.h"
#include "daemon/greeting.h"
#include "daemon/jitter.h"
#include "daemon/log.h"
#include "daemon/part.h"
#include "daemon/sentinel.h"
#include "daemon/wire.h"

#define DIAL_TIMEOUT  (5 * FTL_S)
#define RETRY_MIN     (50 * FTL_MS)
#define RETRY_MAX     FTL_S
#define STABLE        (1 * FTL_S) /* a connection that lasted this long starts the backoff anew */
#define STABLE_AGAIN  (60 * FTL_S) /* the same for one to a replica */
#define CLOSE_GRACE   (2 * FTL_S)
#define LAST_WORDS    (200 * FTL_MS)
#define PIECE         (64 << 10) /* of what is written: that it has gone is progress */

enum state { DOWN, DIALING, GREETING, UP, BROKEN, STATE_COUNT };

#define EDGE(to) (1u << (to))
static const unsigned edges[STATE_COUNT] = {
    [DOWN] = EDGE(DIALING),
    [DIALING] = EDGE(GREETING) | EDGE(DOWN),
    [GREETING] = EDGE(UP) | EDGE(BROKEN),
    [UP] = EDGE(BROKEN),
    [BROKEN] = EDGE(DOWN),
};

struct ftl__link {
    struct ftl_runtime *runtime;
    const struct ftl__address *address;
    const char *name;
    int64_t retry_max;
    int (*on_up)(void *arg, struct ftl__link *link);
    void (*on_down)(void *arg, const char *reason);
    void *arg;

    enum state state;
    bool closing;
    bool announced; /* on_up has succeeded on this connection */
    uint64_t epoch; /* how often it has come up */
    int64_t up_since;
    int64_t moved_at; /* when bytes have last come, or gone */
    bool replica; /* which is why this connection is left */
    bool muted;   /* the loss was not told, nor will the return be */
    char reason[256]; /* of the last break */
    struct ftl__refusal refusal;

    struct ftl_task *task, *reader, *writer;
    struct ftl_task *owner;    /* `task` as it sees itself: compared, never used */
    struct ftl_notify *broken; /* to the owner */
    struct ftl_notify *up;     /* to one who waits for it, who passes it on */
    struct ftl_notify *filled; /* to the writer */

    /* Where this connection goes: `address`, or the master that a sentinel has named. */
    struct ftl__address at;
    struct ftl__master master;
    char shown[300];
    unsigned turn; /* whose turn it is among the sentinels */

    struct ftl__connection *connection;
    struct ftl__wire *wire; /* one per connection */

    struct ftl__flight flight;
};

static void enter(struct ftl__link *link, enum state state)
{
    ftl_assert((edges[link->state] & EDGE(state)) != 0);
    link->state = state;
}

/* ---- calls ------------------------------------------------------------------------------ */

/* Takes a call out of the flight, or its reply out of the call. */
static void forget(void *arg)
{
    struct ftl__call *call = arg;
    if (call->pending)
        ftl__flight_drop(&call->link->flight, call);
    ftl__reply_free(call->reply);
    call->reply = NULL;
}

static bool may_call(const struct ftl__link *link)
{
    return link->state == UP || (link->state == GREETING && ftl_task_current() == link->owner);
}

/* The command is in the wire's buffer: its reply is to come. */
static void enqueue(struct ftl__link *link, struct ftl__call *call, int64_t deadline)
{
    *call = (struct ftl__call){
        .link = link, .deadline = deadline, .patience = deadline - ftl_now()};
    ftl_oneshot_init(&call->done);
    ftl__flight_push(&link->flight, call);
    ftl_defer_arm(&call->guard, forget, call);
    ftl_notify_one(link->filled);
}

int ftl__link_begin(struct ftl__link *link, struct ftl__call *call,
                    const struct ftl__command *command, int64_t deadline)
{
    if (!may_call(link))
        return FTL_ECONN;
    int status = ftl__flight_reserve(&link->flight);
    if (status == 0)
        status = ftl__wire_put(link->wire, command->argc, command->argv, command->argvlen);
    if (status == 0)
        enqueue(link, call, deadline);
    return status;
}

/* A large answer over a slow connection takes its time: to break it off would only begin it anew. */
static bool goes_on(struct ftl__call *call)
{
    int64_t until = call->link->moved_at + call->patience;
    if (!call->pending || until <= ftl_now())
        return false;
    call->deadline = until;
    return true;
}

int ftl__link_wait(struct ftl__call *call, struct redisReply **ret_reply)
{
    void *nothing;
    int status;
    do
        status = ftl_oneshot_recv(&call->done, call->deadline, &nothing);
    while (status == FTL_ETIMEDOUT && goes_on(call));
    if (call->pending) {
        ftl_assert(status != 0);
        struct ftl__link *link = call->link;
        ftl__link_cancel(call);
        if (status == FTL_ETIMEDOUT)
            ftl__link_break(link, "no answer within the deadline");
        return status;
    }
    ftl_defer_disarm(&call->guard);
    if (call->status != 0)
        return call->status;
    if (ftl__reply_is_error(call->reply, "READONLY")) {
        call->link->replica = true;
        ftl__link_break(call->link, "Redis is a replica and takes no writes");
    }
    *ret_reply = call->reply;
    call->reply = NULL;
    return 0;
}

void ftl__link_cancel(struct ftl__call *call)
{
    ftl_defer_disarm(&call->guard);
    forget(call);
}

int ftl__link_call(struct ftl__link *link, const struct ftl__command *command, int64_t deadline,
                   struct redisReply **ret_reply)
{
    struct ftl__call call;
    int status = ftl__link_begin(link, &call, command, deadline);
    return status != 0 ? status : ftl__link_wait(&call, ret_reply);
}

int ftl__link_begin_raw(struct ftl__link *link, struct ftl__call *call, const char *bytes,
                        size_t size, int64_t deadline)
{
    if (!may_call(link))
        return FTL_ECONN;
    int status = ftl__flight_reserve(&link->flight);
    if (status == 0)
        status = ftl__wire_put_raw(link->wire, bytes, size);
    if (status == 0)
        enqueue(link, call, deadline);
    return status;
}

int ftl__link_callf(struct ftl__link *link, int64_t deadline, struct redisReply **ret_reply,
                    const char *format, ...)
{
    struct ftl__call call;
    char *bytes = NULL;
    va_list args;
    va_start(args, format);
    int size = redisvFormatCommand(&bytes, format, args);
    va_end(args);
    if (size < 0)
        return size == -1 ? FTL_ENOMEM : FTL_EINVAL;
    int status = ftl__link_begin_raw(link, &call, bytes, (size_t)size, deadline);
    redisFreeCommand(bytes);
    return status != 0 ? status : ftl__link_wait(&call, ret_reply);
}

/* ---- reader and writer ------------------------------------------------------------------ */

void ftl__link_break(struct ftl__link *link, const char *reason)
{
    if (link->state != UP && link->state != GREETING)
        return;
    snprintf(link->reason, sizeof link->reason, "%s", reason);
    enter(link, BROKEN);
    ftl__flight_fail(&link->flight, FTL_ECONN);
    ftl_notify_one(link->broken);
}

#define CLOSED "Redis has closed the connection"

static void break_on(struct ftl__link *link, const char *what, int status, int error)
{
    char reason[sizeof link->reason];
    if (status == FTL_ESYS && (error == EPIPE || error == ECONNRESET)) {
        ftl__link_break(link, CLOSED); /* whoever of us meets it */
        return;
    }
    const char *text = status == FTL_ESYS ? strerrordesc_np(error) : ftl_error_text(status);
    if (status == FTL_EPROTO && ftl__connection_reason(link->connection)[0] != '\0')
        text = ftl__connection_reason(link->connection);
    snprintf(reason, sizeof reason, "%s: %s", what, text != NULL ? text : "error");
    ftl__link_break(link, reason);
}

static int take_in(struct ftl__link *link)
{
    struct redisReply *reply;
    int status;
    while ((status = ftl__wire_next(link->wire, &reply)) == 0) {
        status = ftl__flight_land(&link->flight, reply);
        if (status != 0)
            return status;
    }
    return status == FTL_EAGAIN ? 0 : status;
}

static void *read_replies(void *arg)
{
    struct ftl__link *link = arg;
    while (link->state != BROKEN) {
        int error = 0;
        char *space;
        size_t room;
        int status = ftl__wire_space(link->wire, &space, &room);
        if (status != 0) {
            break_on(link, "reply", status, 0);
            break;
        }
        ssize_t size = ftl__connection_read(link->connection, space, room, FTL_FOREVER, &error);
        if (link->state == BROKEN)
            break;
        if (size == 0)
            ftl__link_break(link, CLOSED);
        if (size < 0)
            break_on(link, "read", (int)size, error);
        if (size > 0) {
            link->moved_at = ftl_now();
            ftl__wire_filled(link->wire, (size_t)size);
        }
        status = size > 0 ? take_in(link) : 0;
        if (status != 0)
            break_on(link, "reply", status, 0);
    }
    return NULL;
}

static int write_all(struct ftl__link *link, const char *bytes, size_t size, int *ret_errno)
{
    int status = 0;
    while (status == 0 && size > 0 && link->state != BROKEN) {
        size_t some = size < PIECE ? size : PIECE;
        status = ftl__connection_write_all(link->connection, bytes, some, FTL_FOREVER, ret_errno);
        link->moved_at = ftl_now();
        bytes += some;
        size -= some;
    }
    return status;
}

static void *write_commands(void *arg)
{
    struct ftl__link *link = arg;
    while (link->state != BROKEN) {
        const char *bytes;
        size_t size;
        int error = 0, status;
        if (ftl__wire_take(link->wire, &bytes, &size))
            status = write_all(link, bytes, size, &error);
        else
            status = ftl_notify_wait(link->filled, FTL_FOREVER);
        if (status != 0) {
            /* Whoever hangs up may have said why before, which the reader is to have first. */
            (void)ftl_sleep(LAST_WORDS);
            break_on(link, "write", status, error);
        }
    }
    return NULL;
}

/* ---- the life of a connection ----------------------------------------------------------- */

int ftl__link_passing(struct ftl__link *link, const char *command, const struct redisReply *reply)
{
    char reason[sizeof link->reason];
    if (reply->type != REDIS_REPLY_ERROR || !ftl__greeting_passes(reply->str))
        return 0;
    snprintf(reason, sizeof reason, "%s: %.200s", command, reply->str);
    ftl__link_break(link, reason);
    return FTL_EPROTO;
}

/* What the server has said goes before what came of the connection meanwhile. */
static int greet(struct ftl__link *link)
{
    struct ftl__refusal *refusal = &link->refusal;
    int status = ftl__greet(link, link->address, link->name, refusal);
    if (status == 0 && link->on_up != NULL && link->on_up(link->arg, link) != 0)
        status = FTL_EPROTO;
    if (status == 0 && link->state == GREETING)
        return 0;
    ftl__link_break(link, "could not be prepared");
    if (refusal->said[0] != '\0')
        snprintf(link->reason, sizeof link->reason, "%s%s%s",
                 refusal->command != NULL ? refusal->command : "",
                 refusal->command != NULL ? ": " : "", refusal->said);
    return FTL_ECONN;
}

static int find(struct ftl__link *link)
{
    link->at = *link->address;
    link->at.password = NULL; /* a reload may free it */
    if (link->address->sentinels == NULL)
        return 0;
    int status = ftl__sentinel_find(link->runtime, link->address->sentinels, &link->turn,
                                    &link->master, link->reason, sizeof link->reason);
    if (status != 0)
        return status;
    snprintf(link->shown, sizeof link->shown,
             strchr(link->master.host, ':') != NULL ? "%s[%s]:%u/%u" : "%s%s:%u/%u",
             link->address->tls != NULL ? "rediss://" : "redis://", link->master.host,
             link->master.port, link->address->db);
    link->at.host = link->master.host;
    link->at.port = link->master.port;
    link->at.shown = link->shown;
    return 0;
}

static int open_connection(struct ftl__link *link)
{
    enter(link, DIALING);
    link->refusal = (struct ftl__refusal){.command = NULL};
    link->replica = false;
    int status = ftl__wire_open(&link->wire);
    if (status != 0)
        snprintf(link->reason, sizeof link->reason, "%s", ftl_error_text(status));
    if (status == 0)
        status = find(link);
    if (status == 0)
        status = ftl__dial(link->runtime, &link->at, ftl_deadline(DIAL_TIMEOUT), &link->connection,
                           link->reason, sizeof link->reason);
    if (status != 0)
        return status;
    enter(link, GREETING);
    status = ftl__part_start(link->runtime, read_replies, link, "link-read", &link->reader);
    if (status == 0)
        status = ftl__part_start(link->runtime, write_commands, link, "link-write", &link->writer);
    if (status != 0)
        break_on(link, "start", status, 0);
    return status;
}

/* Whatever state the connection is in: none is left afterwards. */
static void clear_up(void *arg)
{
    struct ftl__link *link = arg;
    ftl__link_break(link, "closed");
    ftl__part_stop(&link->reader, 0);
    ftl__part_stop(&link->writer, 0);
    ftl__connection_close_at(&link->connection);
    ftl__wire_close(link->wire);
    link->wire = NULL;
    if (link->state != DOWN)
        enter(link, DOWN);
}

static void announce_up(struct ftl__link *link)
{
    enter(link, UP);
    link->announced = true;
    link->epoch++;
    link->up_since = ftl_now();
    if (!link->muted)
        ftl__log(FTL__EV_REDIS_CONNECTED, FTL__STR("link", link->name),
                 FTL__STR("redis", link->at.shown));
    ftl_notify_one(link->up);
}

static bool is_news(const struct ftl__link *link)
{
    char text[256];
    snprintf(text, sizeof text, "%s %.200s", link->name, link->reason);
    return ftl__complaint_is_news(text);
}

/* Whatever is tried again and again is told once a minute; so is the loss of a connection that
 * comes up again and again only to be lost (`flaps`), and what lies between. */
static void announce_down(struct ftl__link *link, int64_t retry, bool flaps)
{
    bool was_up = link->announced;
    link->announced = false;
    if (link->closing)
        return;
    if (link->on_down != NULL)
        link->on_down(link->arg, link->reason);
    bool told = is_news(link) || (was_up && !flaps);
    if (was_up || told)
        link->muted = !told;
    if (!told)
        return;
    if (link->refusal.command != NULL && !link->refusal.passes)
        ftl__log(FTL__EV_REDIS_ERROR, FTL__STR("link", link->name),
                 FTL__STR("command", link->refusal.command), FTL__STR("reason", link->refusal.said));
    ftl__log(FTL__EV_REDIS_LOST, FTL__STR("link", link->name),
             FTL__STR("redis", link->at.shown), FTL__STR("reason", link->reason),
             FTL__INT("retry_ms", retry / FTL_MS));
}

/* One to a replica comes up at once, and is of no use. */
static bool was_stable(const struct ftl__link *link)
{
    int64_t enough = link->replica ? STABLE_AGAIN : STABLE;
    return link->announced && ftl_now() - link->up_since >= enough;
}

static void *keep_connected(void *arg)
{
    struct ftl__link *link = arg;
    int64_t delay = RETRY_MIN;
    FTL_DEFER(clear_up, link);
    link->owner = ftl_task_current();
    while (!link->closing) {
        if (open_connection(link) == 0 && greet(link) == 0)
            announce_up(link);
        while (link->state == UP && !link->closing)
            (void)ftl_notify_wait(link->broken, FTL_FOREVER);
        if (was_stable(link))
            delay = RETRY_MIN;
        clear_up(link);
        int64_t retry = delay / 2 + ftl__jitter(delay / 2);
        announce_down(link, retry, link->replica || delay >= link->retry_max);
        delay = 2 * delay < link->retry_max ? 2 * delay : link->retry_max;
        (void)ftl_sleep(retry);
    }
    return NULL;
}

/* ---- the object ------------------------------------------------------------------------- */

static void free_link(struct ftl__link *link)
{
    ftl_notify_free(link->broken);
    ftl_notify_free(link->up);
    ftl_notify_free(link->filled);
    ftl__flight_free(&link->flight);
    free(link);
}

int ftl__link_open(const struct ftl__link_options *options, struct ftl__link **ret_link)
{
    struct ftl__link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return FTL_ENOMEM;
    link->runtime = options->runtime;
    link->address = options->address;
    link->name = options->name;
    link->retry_max = options->retry_max > 0 ? options->retry_max : RETRY_MAX;
    link->on_up = options->on_up;
    link->on_down = options->on_down;
    link->arg = options->arg;
    link->broken = ftl_notify_new();
    link->up = ftl_notify_new();
    link->filled = ftl_notify_new();
    int status = FTL_ENOMEM;
    if (link->broken != NULL && link->up != NULL && link->filled != NULL)
        status = ftl__part_start(link->runtime, keep_connected, link, "link", &link->task);
    if (status != 0) {
        free_link(link);
        return status;
    }
    *ret_link = link;
    return 0;
}

void ftl__link_close(struct ftl__link *link)
{
    if (link == NULL)
        return;
    link->closing = true;
    ftl__part_stop(&link->task, CLOSE_GRACE);
    free_link(link);
}

bool ftl__link_is_up(const struct ftl__link *link)
{
    return link->state == UP;
}

uint64_t ftl__link_epoch(const struct ftl__link *link)
{
    return link->epoch;
}

int ftl__link_wait_up(struct ftl__link *link, int64_t deadline)
{
    int status = 0;
    while (status == 0 && link->state != UP)
        status = ftl_notify_wait(link->up, deadline);
    if (link->state != UP)
        return status;
    ftl_notify_one(link->up); /* for the next one who waits */
    return 0;
}
