/* SPDX-License-Identifier: MIT
 *
 * Sockets: connecting, listening, accepting, over TCP and unix sockets, and each way in which that
 * ends otherwise. */
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <fettle/socket.h>

#include "tests/unit/task_fixture.h"

/* ---- addresses ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
    struct sockaddr_storage room;
};

struct place {
    union address address;
    socklen_t size;
};

static struct place loopback(void)
{
    struct place place = {.size = sizeof place.address.in};
    place.address.in.sin_family = AF_INET;
    place.address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return place;
}

/* In the abstract namespace, which leaves no files. */
static struct place unix_place(void)
{
    static _Atomic int counter;
    struct place place = {.address.un = {.sun_family = AF_UNIX}};
    int n = snprintf(place.address.un.sun_path + 1, sizeof place.address.un.sun_path - 1,
                     "fettle-test-%d-%d", (int)getpid(), atomic_fetch_add(&counter, 1));
    place.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    return place;
}

static int listen_at(struct place *place, int backlog, struct ftl_fd **ret_fd)
{
    int rc = ftl_socket_listen(fixture_runtime, &place->address.any, place->size, backlog, ret_fd,
                               NULL);
    place->size = sizeof place->address;
    if (rc == 0 &&
        getsockname(ftl_fd_number(*ret_fd), &place->address.any, &place->size) != 0)
        return FTL_ESYS;
    return rc;
}

static int connect_to(const struct place *place, int64_t deadline, struct ftl_fd **ret_fd,
                      int *ret_errno)
{
    return ftl_socket_connect(fixture_runtime, &place->address.any, place->size, deadline, ret_fd,
                              ret_errno);
}

/* An address at which nobody listens, nor will: *ret_holder, to be closed, keeps the port. */
static struct place nobody(int *ret_holder)
{
    struct place place = loopback();
    *ret_holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ftl_assert(*ret_holder >= 0 && bind(*ret_holder, &place.address.any, place.size) == 0);
    ftl_assert(getsockname(*ret_holder, &place.address.any, &place.size) == 0);
    return place;
}

static int open_fds(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    ftl_assert(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* ---- the way things go ---- */

static void *echo(void *arg)
{
    FTL_FD(peer);
    char buf[1000];
    ssize_t n;
    ftl_assert(ftl_socket_accept(arg, FTL_FOREVER, &peer, NULL) == 0);
    while ((n = ftl_fd_read(peer, buf, sizeof buf, FTL_FOREVER, NULL)) > 0)
        ftl_assert(ftl_fd_write_all(peer, buf, (size_t)n, FTL_FOREVER, NULL) == 0);
    ftl_assert(n == 0); /* half closed: what is written now still arrives */
    ftl_assert(ftl_fd_write_all(peer, "bye", 3, FTL_FOREVER, NULL) == 0);
    return NULL;
}

static void *talk(void *arg)
{
    FTL_FD(fd);
    char buf[4];
    ftl_assert(connect_to(arg, ftl_deadline(60 * FTL_S), &fd, NULL) == 0);
    for (int i = 0; i < 100; i++) {
        ftl_assert(ftl_fd_write_all(fd, "ping", 4, FTL_FOREVER, NULL) == 0);
        for (ssize_t got = 0; got < 4;) {
            ssize_t n = ftl_fd_read(fd, buf + got, sizeof buf - (size_t)got, FTL_FOREVER, NULL);
            ftl_assert(n > 0);
            got += n;
        }
        ftl_assert(memcmp(buf, "ping", 4) == 0);
    }
    ftl_assert(ftl_socket_shutdown(fd, FTL_WRITE, NULL) == 0);
    size_t got = 0;
    for (ssize_t n = 1; n > 0; got += (size_t)n) {
        n = ftl_fd_read(fd, buf + got, sizeof buf - got, FTL_FOREVER, NULL);
        ftl_assert(n >= 0);
    }
    ftl_assert(got == 3 && memcmp(buf, "bye", 3) == 0);
    return NULL;
}

static void talk_over(struct place place)
{
    struct ftl_fd *listener;
    struct ftl_task *tasks[2];
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    tasks[0] = fixture_spawn(echo, listener);
    tasks[1] = fixture_spawn(talk, &place);
    ck_assert_int_eq(fixture_join(tasks[1]), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(tasks[0]), FTL_COMPLETED);
    tasks[0] = fixture_spawn(echo, listener);
    talk(&place); /* a foreign thread */
    ck_assert_int_eq(fixture_join(tasks[0]), FTL_COMPLETED);
    ftl_fd_close(listener);
}

START_TEST(what_is_sent_arrives_and_each_direction_ends_by_itself)
{
    int before = open_fds();
    talk_over(loopback());
    talk_over(unix_place());
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

START_TEST(a_port_can_be_listened_on_again_at_once)
{
    struct place place = loopback();
    struct ftl_fd *listener, *again;
    struct ftl_task *task;
    int error = 0;
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    task = fixture_spawn(echo, listener);
    talk(&place); /* leaves a connection behind, in TIME_WAIT */
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_int_eq(ftl_socket_listen(fixture_runtime, &place.address.any, place.size, 0, &again,
                                       &error),
                     FTL_ESYS);
    ck_assert_int_eq(error, EADDRINUSE);
    ftl_fd_close(listener);
    ck_assert_int_eq(listen_at(&place, 0, &again), 0);
    ftl_fd_close(again);
}
END_TEST

/* ---- connecting to nobody ---- */

static void *connect_to_nobody(void *arg)
{
    int holder;
    struct place place = nobody(&holder), strange = {.size = sizeof place.address.in};
    struct ftl_fd *fd = (struct ftl_fd *)&place;
    int error = 0;
    ftl_assert(connect_to(&place, FTL_FOREVER, &fd, &error) == FTL_ESYS);
    ftl_assert(error == ECONNREFUSED);
    close(holder);
    place = unix_place();
    ftl_assert(connect_to(&place, FTL_FOREVER, &fd, &error) == FTL_ESYS);
    ftl_assert(error == ECONNREFUSED);
    ftl_assert(connect_to(&place, FTL_FOREVER, &fd, NULL) == FTL_ESYS);
    strange.address.any.sa_family = 200;
    ftl_assert(connect_to(&strange, FTL_FOREVER, &fd, &error) == FTL_ESYS);
    ftl_assert(error == EAFNOSUPPORT);
    ftl_assert(fd == (struct ftl_fd *)&place); /* untouched */
    return arg;
}

START_TEST(a_refusal_is_told_and_leaves_nothing_open)
{
    int before = open_fds();
    fixture_run(connect_to_nobody, NULL);
    connect_to_nobody(NULL);
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

/* A listener whose line is full: connecting to it takes for ever. */
struct hole {
    struct place place;
    struct ftl_fd *listener;
    int fillers[8];
};

static void open_hole(struct hole *hole)
{
    hole->place = loopback();
    ftl_assert(listen_at(&hole->place, 1, &hole->listener) == 0);
    for (int i = 0; i < 8; i++) {
        hole->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ftl_assert(hole->fillers[i] >= 0);
        ftl_assert(connect(hole->fillers[i], &hole->place.address.any, hole->place.size) == 0 ||
                   errno == EINPROGRESS);
    }
}

static void close_hole(struct hole *hole)
{
    for (int i = 0; i < 8; i++)
        close(hole->fillers[i]);
    ftl_fd_close(hole->listener);
}

static void *connect_into_hole(void *arg)
{
    struct hole *hole = arg;
    struct ftl_fd *fd;
    int64_t deadline = ftl_deadline(20 * FTL_MS);
    ftl_assert(connect_to(&hole->place, deadline, &fd, NULL) == FTL_ETIMEDOUT);
    ftl_assert(ftl_now() >= deadline);
    ftl_assert(connect_to(&hole->place, 1, &fd, NULL) == FTL_ETIMEDOUT); /* long past */
    return NULL;
}

static void *connect_for_ever(void *arg)
{
    struct hole *hole = arg;
    struct ftl_fd *fd;
    (void)connect_to(&hole->place, FTL_FOREVER, &fd, NULL);
    return NULL;
}

static void see_frames(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    (void)name, (void)id, (void)frames;
    *(int *)arg += count > 0; /* only a task that waits has any */
}

static void await_waiting(int count)
{
    for (int waiting = 0; waiting < count; sched_yield()) {
        waiting = 0;
        ftl_runtime_dump(fixture_runtime, see_frames, &waiting);
    }
}

START_TEST(a_connect_ends_at_its_deadline_and_by_an_abort)
{
    struct hole hole;
    open_hole(&hole);
    int before = open_fds();
    fixture_run(connect_into_hole, &hole);
    connect_into_hole(&hole);
    struct ftl_task *task = fixture_spawn(connect_for_ever, &hole);
    await_waiting(1);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_eq(open_fds(), before);
    close_hole(&hole);
}
END_TEST

static void chain(struct addrinfo *list, struct place *places, int count)
{
    for (int i = 0; i < count; i++)
        list[i] = (struct addrinfo){.ai_addr = &places[i].address.any,
                                    .ai_addrlen = places[i].size,
                                    .ai_next = i + 1 < count ? &list[i + 1] : NULL};
}

static void *try_several(void *arg)
{
    struct hole *hole = arg;
    int holder;
    struct place places[3] = {nobody(&holder), hole->place, loopback()};
    struct addrinfo list[3];
    struct ftl_fd *fd = NULL;
    int error = 0;
    FTL_FD(listener);
    ftl_assert(listen_at(&places[2], 0, &listener) == 0);
    chain(list, places, 3);
    /* The second takes its half, no more, and the third is reached. */
    int64_t deadline = ftl_deadline(3 * FTL_S * unit_slow());
    ftl_assert(ftl_socket_connect_any(fixture_runtime, list, deadline, &fd, NULL) == 0);
    ftl_assert(ftl_now() < deadline);
    ftl_fd_close(fd);
    chain(list, places, 1);
    ftl_assert(ftl_socket_connect_any(fixture_runtime, list, FTL_FOREVER, &fd, &error) == FTL_ESYS);
    ftl_assert(error == ECONNREFUSED);
    chain(list, places, 2);
    ftl_assert(ftl_socket_connect_any(fixture_runtime, list, ftl_deadline(20 * FTL_MS), &fd,
                                      NULL) == FTL_ETIMEDOUT);
    ftl_assert(ftl_socket_connect_any(fixture_runtime, NULL, FTL_FOREVER, &fd, NULL) == FTL_EINVAL);
    close(holder);
    return NULL;
}

START_TEST(of_several_addresses_the_first_that_answers_is_taken)
{
    struct hole hole;
    open_hole(&hole);
    int before = open_fds();
    fixture_run(try_several, &hole);
    ck_assert_int_eq(open_fds(), before);
    close_hole(&hole);
}
END_TEST

START_TEST(a_full_line_at_a_unix_socket_is_told)
{
    struct place place = unix_place();
    struct ftl_fd *listener, *fds[16];
    int count = 0, rc;
    ck_assert_int_eq(listen_at(&place, 1, &listener), 0);
    while ((rc = connect_to(&place, FTL_FOREVER, &fds[count], NULL)) == 0)
        ck_assert_int_lt(++count, 16);
    ck_assert_int_eq(rc, FTL_EAGAIN);
    while (count > 0)
        ftl_fd_close(fds[--count]);
    ftl_fd_close(listener);
}
END_TEST

/* ---- accepting ---- */

static void *accept_until_closed(void *arg)
{
    struct ftl_fd *peer;
    return (void *)(intptr_t)ftl_socket_accept(arg, FTL_FOREVER, &peer, NULL);
}

START_TEST(an_accept_ends_at_its_deadline_by_an_abort_and_by_a_close)
{
    struct place place = loopback();
    struct ftl_fd *listener, *peer;
    struct ftl_outcome outcome;
    int64_t deadline = ftl_deadline(5 * FTL_MS);
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    ck_assert_int_eq(ftl_socket_accept(listener, deadline, &peer, NULL), FTL_ETIMEDOUT);
    ck_assert_int_ge(ftl_now(), deadline);
    struct ftl_task *task = fixture_spawn(accept_until_closed, listener);
    await_waiting(1);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    task = fixture_spawn(accept_until_closed, listener);
    await_waiting(1);
    ftl_fd_close(listener);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq((intptr_t)outcome.value, FTL_ECLOSED);
}
END_TEST

START_TEST(what_broke_off_in_line_is_passed_over)
{
    struct place place = loopback();
    struct ftl_fd *listener, *fd, *peer;
    const struct linger at_once = {.l_onoff = 1};
    char byte;
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    ck_assert_int_eq(connect_to(&place, FTL_FOREVER, &fd, NULL), 0);
    ck_assert_int_eq(setsockopt(ftl_fd_number(fd), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once),
                     0);
    ftl_fd_close(fd); /* a reset */
    ck_assert_int_eq(connect_to(&place, FTL_FOREVER, &fd, NULL), 0);
    ck_assert_int_eq(ftl_fd_write_all(fd, "x", 1, FTL_FOREVER, NULL), 0);
    ck_assert_int_eq(ftl_socket_accept(listener, FTL_FOREVER, &peer, NULL), 0);
    int error = 0; /* Linux hands the dead one out: its first read tells */
    ssize_t n = ftl_fd_read(peer, &byte, 1, FTL_FOREVER, &error);
    if (n == FTL_ESYS) {
        ck_assert_int_eq(error, ECONNRESET);
        ftl_fd_close(peer);
        ck_assert_int_eq(ftl_socket_accept(listener, FTL_FOREVER, &peer, NULL), 0);
        n = ftl_fd_read(peer, &byte, 1, FTL_FOREVER, &error);
    }
    ck_assert_int_eq(n, 1);
    ftl_fd_close(peer);
    ftl_fd_close(fd);
    ftl_fd_close(listener);
}
END_TEST

static _Atomic int failures;

/* An accept loop as people write it. */
static void *accept_in_loop(void *arg)
{
    FTL_FD(peer);
    int error = 0, rc;
    while ((rc = ftl_socket_accept(arg, FTL_FOREVER, &peer, &error)) == FTL_ESYS) {
        ftl_assert(error == EMFILE);
        atomic_fetch_add(&failures, 1);
    }
    ftl_assert(rc == 0);
    return NULL;
}

START_TEST(without_descriptors_an_accept_neither_spins_nor_loses_the_connection)
{
    struct place place = loopback();
    struct ftl_fd *listener, *fd, *peer;
    struct ftl_outcome outcome;
    struct rlimit limit, none;
    int error = 0;
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    ck_assert_int_eq(connect_to(&place, FTL_FOREVER, &fd, NULL), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    int64_t start = ftl_now();
    ck_assert_int_eq(ftl_socket_accept(listener, start + 10 * FTL_MS, &peer, &error),
                     FTL_ESYS);
    ck_assert_int_eq(error, EMFILE); /* rather than the deadline */
    atomic_store(&failures, 0);
    struct ftl_task *task = fixture_spawn(accept_in_loop, listener);
    ftl_sleep(170 * FTL_MS);
    while (atomic_load(&failures) == 0) /* it has not even begun */
        ftl_sleep(FTL_MS);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_int_le(atomic_load(&failures), (ftl_now() - start) / (50 * FTL_MS));
    ftl_fd_close(fd);
    ftl_fd_close(listener);
}
END_TEST

static int listen_with(int free_descriptors, struct place place)
{
    struct ftl_fd *fd;
    struct rlimit limit, less;
    int rc, error = 0, next = dup(0);
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    less = (struct rlimit){.rlim_cur = (rlim_t)(next + free_descriptors),
                           .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
    rc = ftl_socket_listen(fixture_runtime, &place.address.any, place.size, 0, &fd, &error);
    ck_assert_int_eq(rc, FTL_ESYS);
    rc = ftl_socket_connect(fixture_runtime, &place.address.any, place.size, FTL_FOREVER, &fd,
                            NULL);
    ck_assert_int_eq(rc, FTL_ESYS);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return error;
}

START_TEST(without_descriptors_nothing_is_opened)
{
    int before = open_fds();
    ck_assert_int_eq(listen_with(0, loopback()), EMFILE);
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

/* ---- options ---- */

static int option(struct ftl_fd *fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    ck_assert_int_eq(getsockopt(ftl_fd_number(fd), level, name, &value, &size), 0);
    return value;
}

START_TEST(options_are_set_or_refused)
{
    struct place place = loopback(), local = unix_place();
    struct ftl_fd *listener, *fd;
    int error = 0;
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    ck_assert_int_eq(connect_to(&place, FTL_FOREVER, &fd, NULL), 0);
    ck_assert_int_eq(ftl_socket_set_nodelay(fd, true, NULL), 0);
    ck_assert_int_ne(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(ftl_socket_set_nodelay(fd, false, NULL), 0);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(ftl_socket_set_keepalive(fd, 10, 3, 4, NULL), 0);
    ck_assert_int_ne(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 10);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 3);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 22000);
    ck_assert_int_eq(ftl_socket_set_keepalive(fd, 0, 3, 4, &error), FTL_ESYS);
    ck_assert_int_eq(error, EINVAL);
    ftl_fd_close(fd);
    ftl_fd_close(listener);
    ck_assert_int_eq(ftl_pipe(fixture_runtime, &listener, &fd), 0);
    ck_assert_int_eq(ftl_socket_shutdown(fd, FTL_WRITE, &error), FTL_ESYS);
    ck_assert_int_eq(error, ENOTSOCK);
    ftl_fd_close(fd);
    ftl_fd_close(listener);
    ck_assert_int_eq(listen_at(&local, 0, &listener), 0);
    ck_assert_int_eq(ftl_socket_set_nodelay(listener, true, &error), FTL_ESYS);
    ck_assert_int_eq(error, EOPNOTSUPP);
    ftl_fd_close(listener);
}
END_TEST

START_TEST(reads_after_a_shutdown_of_their_direction_see_the_end)
{
    struct place place = loopback();
    struct ftl_fd *listener, *fd;
    char byte;
    ck_assert_int_eq(listen_at(&place, 0, &listener), 0);
    ck_assert_int_eq(connect_to(&place, FTL_FOREVER, &fd, NULL), 0);
    ck_assert_int_eq(ftl_socket_shutdown(fd, FTL_READ, NULL), 0);
    ck_assert_int_eq(ftl_fd_read(fd, &byte, 1, FTL_FOREVER, NULL), 0);
    ftl_fd_close(fd);
    ftl_fd_close(listener);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, what_is_sent_arrives_and_each_direction_ends_by_itself);
    FIXTURE_CASE(suite, a_port_can_be_listened_on_again_at_once);
    FIXTURE_CASE(suite, a_refusal_is_told_and_leaves_nothing_open);
    FIXTURE_CASE(suite, a_connect_ends_at_its_deadline_and_by_an_abort);
    FIXTURE_CASE(suite, of_several_addresses_the_first_that_answers_is_taken);
    FIXTURE_CASE(suite, a_full_line_at_a_unix_socket_is_told);
    FIXTURE_CASE(suite, an_accept_ends_at_its_deadline_by_an_abort_and_by_a_close);
    FIXTURE_CASE(suite, what_broke_off_in_line_is_passed_over);
    FIXTURE_CASE(suite, without_descriptors_an_accept_neither_spins_nor_loses_the_connection);
    FIXTURE_CASE(suite, without_descriptors_nothing_is_opened);
    FIXTURE_CASE(suite, options_are_set_or_refused);
    FIXTURE_CASE(suite, reads_after_a_shutdown_of_their_direction_see_the_end);
}

UNIT_MAIN("socket", add_cases)
