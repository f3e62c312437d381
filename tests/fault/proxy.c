/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A proxy between fettled and redis-server, both on Unix sockets, that harms what goes
 * through it:  proxy LISTEN SERVER.  One thread, one poll(2). Each connection has two flows, up and
 * down; a flow holds what has come until whole messages of it go out, so that one can be cut at any
 * byte, or be answered in Redis' place (plan.c). Orders come by stdin, a line each; each is
 * answered by one line when it is in force. The end of stdin ends it.
 *
 *     pass                        no fault any more; what was held goes on
 *     delay MS                    everything comes so much later
 *     stall up|down|both          nothing goes that way any more; new connections are not led
 *                                 on
 *     slice                       a byte for each write
 *     slow BYTES                  no more than that in each tenth of a second, each way
 *     reset                       all connections are closed
 *     refuse                      the same, and nobody listens any more (until `pass`)
 *     cut FIRST STEP LAST         plan_cuts()
 *     error -TEXT                 plan_error()
 *     report                      plan_report() */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "message.h"
#include "plan.h"

#define CONNECTIONS_MAX 1000
#define READ_SIZE (256 << 10)
#define FULL (8 << 20) /* bytes that wait to be sent: no more is read then */
#define PIECE_MS 100

struct bytes {
    char *data;
    size_t size, room;
};

struct flow {
    int from, to;
    struct bytes in, out;
    int64_t due;  /* ms: before, nothing of `in` goes on */
    int64_t next; /* ms: before, nothing of `out` is sent */
};

/* A command whose reply is to come. */
struct pending {
    struct pending *next;
    char kind[KIND_MAX];
    char *answer; /* in Redis' place; NULL: Redis answers */
};

struct connection {
    struct flow flow[2];
    struct pending *head, **tail;
    bool ending; /* no more messages: it is closed when what is to go out has gone */
};

static const char *listen_path, *server_path;
static int listener = -1;
static struct connection *connections[CONNECTIONS_MAX];
static size_t count;
static int64_t delay; /* ms */
static bool held;     /* something is, for its time: also after a `pass` */
static bool stalled[2], sliced;
static size_t slow; /* bytes in PIECE_MS; 0: as they come */
static bool again; /* something may go on without anything new to poll for */

static void die(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ms(void)
{
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time) != 0)
        die("clock_gettime");
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* ---- bytes --------------------------------------------------------------------------------- */

static void append(struct bytes *bytes, const char *data, size_t size)
{
    if (bytes->size + size > bytes->room) {
        bytes->room = 2 * (bytes->size + size);
        bytes->data = realloc(bytes->data, bytes->room);
        if (bytes->data == NULL)
            die("realloc");
    }
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void drop(struct bytes *bytes, size_t size)
{
    bytes->size -= size;
    memmove(bytes->data, bytes->data + size, bytes->size);
}

/* ---- connections --------------------------------------------------------------------------- */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address.sun_path, path);
    return address;
}

static int new_socket(int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        die("socket");
    return fd;
}

static void start_listening(void)
{
    struct sockaddr_un address = address_of(listen_path);
    if (listener >= 0)
        return;
    listener = new_socket(SOCK_NONBLOCK);
    (void)unlink(listen_path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 512) != 0)
        die(listen_path);
}

static void stop_listening(void)
{
    if (listener >= 0 && close(listener) != 0)
        die("close");
    listener = -1;
}

static void push_pending(struct connection *connection, const char *kind, const char *answer)
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (pending == NULL)
        die("calloc");
    memcpy(pending->kind, kind, KIND_MAX);
    pending->answer = answer != NULL ? strdup(answer) : NULL;
    if (answer != NULL && pending->answer == NULL)
        die("strdup");
    *connection->tail = pending;
    connection->tail = &pending->next;
}

static void pop_pending(struct connection *connection)
{
    struct pending *pending = connection->head;
    connection->head = pending->next;
    if (connection->head == NULL)
        connection->tail = &connection->head;
    free(pending->answer);
    free(pending);
}

static void close_connection(size_t i)
{
    struct connection *connection = connections[i];
    (void)close(connection->flow[UP].from);
    (void)close(connection->flow[UP].to);
    for (int d = UP; d <= DOWN; d++) {
        free(connection->flow[d].in.data);
        free(connection->flow[d].out.data);
    }
    while (connection->head != NULL)
        pop_pending(connection);
    free(connection);
    connections[i] = connections[--count];
}

static void close_all(void)
{
    while (count > 0)
        close_connection(count - 1);
}

static void take_connection(void)
{
    struct sockaddr_un address = address_of(server_path);
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    int server = new_socket(0);
    if (count == CONNECTIONS_MAX ||
        connect(server, (struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(client);
        (void)close(server);
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL || fcntl(server, F_SETFL, O_NONBLOCK) != 0)
        die("connection");
    connection->flow[UP] = (struct flow){.from = client, .to = server};
    connection->flow[DOWN] = (struct flow){.from = server, .to = client};
    connection->tail = &connection->head;
    connections[count++] = connection;
}

/* ---- messages ------------------------------------------------------------------------------- */

/* What was answered in Redis' place, as far as it is its turn. */
static void answer(struct connection *connection)
{
    while (connection->head != NULL && connection->head->answer != NULL) {
        struct bytes *out = &connection->flow[DOWN].out;
        append(out, connection->head->answer, strlen(connection->head->answer));
        append(out, "\r\n", 2);
        pop_pending(connection);
    }
}

static void take_command(struct connection *connection, const char *bytes, size_t size)
{
    struct bytes *out = &connection->flow[UP].out;
    char kind[KIND_MAX] = "";
    message_kind(bytes, size, kind);
    const char *instead = plan_answer(kind);
    push_pending(connection, kind, instead);
    if (instead != NULL) {
        answer(connection);
        return;
    }
    size_t at = plan_cut(kind, UP, size);
    append(out, bytes, at);
    connection->ending = at < size;
}

static void take_reply(struct connection *connection, const char *bytes, size_t size)
{
    struct bytes *out = &connection->flow[DOWN].out;
    if (connection->head == NULL) {
        errno = EPROTO;
        die("a reply to nothing");
    }
    message_learn(connection->head->kind, bytes, size);
    size_t at = plan_cut(connection->head->kind, DOWN, size);
    append(out, bytes, at);
    connection->ending = at < size;
    pop_pending(connection);
    answer(connection);
}

static void take_messages(struct connection *connection, enum direction direction)
{
    struct bytes *in = &connection->flow[direction].in;
    size_t at = 0, size;
    while (!connection->ending && (size = message_size(in->data + at, in->size - at)) > 0) {
        if (direction == UP)
            take_command(connection, in->data + at, size);
        else
            take_reply(connection, in->data + at, size);
        at += size;
    }
    if (at > 0)
        drop(in, at);
}

/* ---- bytes in and out ------------------------------------------------------------------------ */

/* False: the other end is gone. */
static bool read_some(struct flow *flow)
{
    static char buffer[READ_SIZE];
    ssize_t size = read(flow->from, buffer, sizeof buffer);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR;
    if (flow->in.size == 0)
        flow->due = now_ms() + delay;
    append(&flow->in, buffer, (size_t)size);
    return size > 0;
}

static bool write_some(struct flow *flow)
{
    size_t most = sliced && flow->out.size > 0 ? 1 : flow->out.size;
    if (slow > 0 && most > slow)
        most = slow;
    flow->next = slow > 0 ? now_ms() + PIECE_MS : 0;
    ssize_t size = send(flow->to, flow->out.data, most, MSG_NOSIGNAL);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR;
    drop(&flow->out, (size_t)size);
    again = true;
    return true;
}

static bool has_room(const struct connection *connection, enum direction direction)
{
    return !connection->ending && !stalled[direction] &&
           connection->flow[direction].out.size < FULL;
}

static bool may_write(const struct flow *flow, enum direction direction)
{
    bool early = now_ms() < flow->next;
    held |= early && flow->out.size > 0;
    return flow->out.size > 0 && !stalled[direction] && !early;
}

static void want(struct connection *connection, struct pollfd polled[2])
{
    for (int d = UP; d <= DOWN; d++) {
        struct flow *flow = &connection->flow[d];
        /* flow[UP] reads from the client and flow[DOWN] writes to it. */
        polled[d].fd = flow->from;
        polled[d].events = (short)((has_room(connection, (enum direction)d) ? POLLIN : 0) |
                                   (may_write(&connection->flow[!d], (enum direction)!d) ? POLLOUT
                                                                                         : 0));
        if (polled[d].events == 0)
            polled[d].fd = -1; /* nor is its hang-up of interest */
    }
}

static bool is_due(const struct flow *flow)
{
    return flow->in.size > 0 && now_ms() >= flow->due;
}

/* False: it is to be closed. */
static bool serve(struct connection *connection, const struct pollfd polled[2])
{
    for (int d = UP; d <= DOWN; d++) {
        struct flow *flow = &connection->flow[d];
        if ((polled[d].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
            has_room(connection, (enum direction)d) && !read_some(flow))
            return false;
        bool due = is_due(flow);
        if (due && has_room(connection, (enum direction)d))
            take_messages(connection, (enum direction)d);
        held |= flow->in.size > 0 && !due;
    }
    for (int d = UP; d <= DOWN; d++)
        if (may_write(&connection->flow[d], (enum direction)d) &&
            !write_some(&connection->flow[d]))
            return false;
    return !connection->ending ||
           connection->flow[UP].out.size + connection->flow[DOWN].out.size > 0;
}

/* ---- orders --------------------------------------------------------------------------------- */

static void pass(void)
{
    delay = 0;
    slow = 0;
    stalled[UP] = stalled[DOWN] = sliced = false;
    plan_off();
    start_listening();
}

static bool obey(char *order)
{
    const char *word = strtok(order, " "), *rest = strtok(NULL, "");
    if (word == NULL)
        return false;
    if (strcmp(word, "pass") == 0)
        pass();
    else if (strcmp(word, "delay") == 0 && rest != NULL)
        delay = strtol(rest, NULL, 10);
    else if (strcmp(word, "slow") == 0 && rest != NULL)
        slow = strtoul(rest, NULL, 10);
    else if (strcmp(word, "stall") == 0 && rest != NULL) {
        stalled[UP] = strcmp(rest, "down") != 0;
        stalled[DOWN] = strcmp(rest, "up") != 0;
    } else if (strcmp(word, "slice") == 0)
        sliced = true;
    else if (strcmp(word, "reset") == 0)
        close_all();
    else if (strcmp(word, "refuse") == 0) {
        stop_listening();
        close_all();
    } else if (strcmp(word, "error") == 0 && rest != NULL)
        plan_error(rest);
    else if (strcmp(word, "cut") == 0 && rest != NULL) {
        char *end;
        size_t from = strtoul(rest, &end, 10);
        size_t step = strtoul(end, &end, 10);
        plan_cuts(from, step, strtoul(end, NULL, 10));
    } else
        return strcmp(word, "report") == 0;
    return true;
}

/* Orders are short and come whole lines at a time: whoever gives them waits for each answer. */
static void take_order(void)
{
    char line[256];
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(0);
    line[strcspn(line, "\n")] = '\0';
    if (!obey(line)) {
        errno = EINVAL;
        die("order");
    }
    again = true;
    plan_report(stdout);
    if (fflush(stdout) != 0)
        die("stdout");
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* While something is held back for its time, a look each millisecond is good enough. */
static int patience(void)
{
    if (again)
        return 0;
    return held ? 1 : -1;
}

static void turn(void)
{
    static struct pollfd polled[2 + 2 * CONNECTIONS_MAX];
    bool open = listener >= 0 && !stalled[UP];
    size_t connected = count;
    polled[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = open ? listener : -1, .events = POLLIN};
    for (size_t i = 0; i < connected; i++)
        want(connections[i], &polled[2 + 2 * i]);
    if (poll(polled, 2 + 2 * connected, patience()) < 0 && errno != EINTR)
        die("poll");
    again = held = false;
    for (size_t i = connected; i-- > 0;) /* downwards: a closed one is replaced by the last */
        if (!serve(connections[i], &polled[2 + 2 * i]))
            close_connection(i);
    if ((polled[1].revents & POLLIN) != 0)
        take_connection();
    if (polled[0].revents != 0)
        take_order();
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: proxy LISTEN SERVER\n");
        return 2;
    }
    listen_path = argv[1];
    server_path = argv[2];
    setvbuf(stdin, NULL, _IONBF, 0);
    start_listening();
    puts("ready");
    fflush(stdout);
    for (;;)
        turn();
}
