/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One multi handle for the process, with the connections that are kept. A run puts its transfer into
 * the mail and waits; one task, the driver, takes it out, hands it to libcurl, and tells the run of
 * its end. The driver is spawned by whoever finds none, on the runtime of its run, and ends when
 * there is nothing left to do: so no task outlives what it is for, and a connection that is only
 * kept costs nothing.
 *
 * libcurl says which sockets it waits for (socket action). They stand in an epoll set of our own, as
 * it needs them: level-triggered, opened and closed by it. That set is one descriptor of the
 * runtime's driver, and an eventfd in it is how new mail wakes the task.
 *
 * A run that is asked to end, or aborted, takes it out of the mail, or sends
 * it once more to have it dropped, and waits until the driver has let go of it: libcurl has pointers
 * into the run. However the driver ends, every transfer that it knows is ended first.
 *
 * libcurl is entered by the driver alone, and never left by a wait, an abort or a panic. */
#include "jobs/transfer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <fettle/io.h>
#include <fettle/runtime.h>

#define EVENTS    32
#define IDLE_EASY 64 /* easy handles that are kept for the next transfers */
#define STACK     (256 << 10) /* TLS needs more than a task has by default */

/* Where a transfer is: in the mail / with libcurl / with libcurl, and in the mail to be dropped. */
enum { WAITING, ACTIVE, UNWANTED, ENDED };

static struct {
    pthread_mutex_t lock;
    struct ftl__list mail; /* by lock, like what follows */
    unsigned users;        /* handlers, and the driver */
    bool driven;           /* there is a driver */
    bool asleep;           /* it waits, and has seen all mail */

    /* Set by the first user, used by any. */
    const struct ftl__curl *curl;
    int epoll, event;

    /* The driver's alone, or of who ends it. */
    struct ftl__list active;
    CURLM *multi; /* NULL: to be made */
    struct ftl_fd *fd;
    int64_t timer; /* when libcurl wants to be called */
    bool broken; /* libcurl refuses to go on */
    bool finished; /* it ended because nothing was left */
    CURL *idle[IDLE_EASY];
    unsigned idle_count;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1, .event = -1};

static void start_driver(struct ftl_runtime *runtime);

/* ---- the end of a transfer ------------------------------------------------------------------ */

/* A handle whose transfer has failed is not reset to what a new one is, whatever the manual says. */
static void put_easy(CURL *easy, bool good)
{
    if (!good || pool.idle_count == IDLE_EASY) {
        pool.curl->easy_cleanup(easy);
        return;
    }
    pool.curl->easy_reset(easy);
    pool.idle[pool.idle_count++] = easy;
}

/* After it the transfer is the run's. */
static void end(struct ftl__transfer *transfer, int rc)
{
    transfer->rc = rc;
    if (transfer->easy != NULL) {
        (void)pool.curl->multi_remove_handle(pool.multi, transfer->easy);
        put_easy(transfer->easy, rc == 0 && transfer->code == CURLE_OK);
    }
    if (ftl__list_is_linked(&transfer->active))
        ftl__list_unlink(&transfer->active);
    pthread_mutex_lock(&pool.lock);
    if (ftl__list_is_linked(&transfer->mail))
        ftl__list_unlink(&transfer->mail);
    transfer->state = ENDED;
    pthread_mutex_unlock(&pool.lock);
    ftl_oneshot_send(&transfer->done, NULL);
}

static void finish(struct ftl__transfer *transfer, CURLcode code)
{
    transfer->code = code;
    transfer->shortage = transfer->shortage || code == CURLE_OUT_OF_MEMORY;
    (void)pool.curl->easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status);
    end(transfer, 0);
}

/* ---- libcurl's wishes ----------------------------------------------------------------------- */

/* -1: libcurl gives up, and so does the driver. */
static int watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct epoll_event event = {.data.fd = fd};
    (void)easy, (void)arg, (void)socket_arg;
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(pool.epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(pool.epoll, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    if (errno == ENOENT && epoll_ctl(pool.epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    return -1;
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi, (void)arg;
    pool.timer = timeout_ms < 0 ? FTL_FOREVER : ftl_deadline(timeout_ms * FTL_MS);
    return 0;
}

static int open_multi(void)
{
    const struct ftl__curl *curl = pool.curl;
    pool.timer = FTL_FOREVER;
    pool.multi = curl->multi_init();
    if (pool.multi == NULL)
        return FTL_ENOMEM;
    (void)curl->multi_setopt(pool.multi, CURLMOPT_SOCKETFUNCTION, watch);
    (void)curl->multi_setopt(pool.multi, CURLMOPT_TIMERFUNCTION, set_timer);
    return 0;
}

/* Closes the connections that are kept. */
static void close_multi(void)
{
    if (pool.multi != NULL)
        (void)pool.curl->multi_cleanup(pool.multi);
    pool.multi = NULL;
}

/* ---- the driver ----------------------------------------------------------------------------- */

static CURL *take_easy(void)
{
    return pool.idle_count > 0 ? pool.idle[--pool.idle_count] : pool.curl->easy_init();
}

static void begin(struct ftl__transfer *transfer)
{
    ftl__list_push_back(&pool.active, &transfer->active);
    transfer->easy = take_easy();
    if (transfer->easy == NULL) {
        end(transfer, FTL_ENOMEM);
        return;
    }
    CURLcode code = ftl__transfer_prepare(pool.curl, transfer);
    if (code != CURLE_OK)
        finish(transfer, code);
    else if (pool.curl->multi_add_handle(pool.multi, transfer->easy) != CURLM_OK)
        pool.broken = true;
}

/* NULL: no mail. *ret_state is what the transfer was before it became active. */
static struct ftl__transfer *take_mail(int *ret_state)
{
    struct ftl__transfer *transfer = NULL;
    pthread_mutex_lock(&pool.lock);
    struct ftl__list *node = ftl__list_pop_front(&pool.mail);
    if (node != NULL) {
        transfer = ftl__container(node, struct ftl__transfer, mail);
        *ret_state = transfer->state;
        transfer->state = ACTIVE;
    }
    pthread_mutex_unlock(&pool.lock);
    return transfer;
}

static void read_mail(void)
{
    struct ftl__transfer *transfer;
    int state;
    while (!pool.broken && (transfer = take_mail(&state)) != NULL) {
        if (state == UNWANTED)
            end(transfer, FTL_ECANCELED);
        else
            begin(transfer);
    }
}

static void act(curl_socket_t fd, int what)
{
    int running;
    if (pool.curl->multi_socket_action(pool.multi, fd, what, &running) != CURLM_OK)
        pool.broken = true;
}

static void reap(void)
{
    CURLMsg *message;
    int left;
    while ((message = pool.curl->multi_info_read(pool.multi, &left)) != NULL) {
        struct ftl__transfer *transfer = NULL;
        CURLcode code = message->data.result; /* the message goes with the handle */
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)pool.curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        finish(transfer, code);
    }
}

/* Whether there was anything. */
static bool serve(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(pool.epoll, events, EVENTS, 0);
    bool due = ftl_now() >= pool.timer;
    for (int i = 0; i < n; i++) {
        uint32_t ready = events[i].events;
        int what = (ready & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (ready & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0);
        if (events[i].data.fd != pool.event)
            act(events[i].data.fd, what);
    }
    if (due) {
        pool.timer = FTL_FOREVER;
        act(CURL_SOCKET_TIMEOUT, 0);
    }
    reap();
    return n > 0 || due;
}

/* Not while there is mail. */
static bool set_asleep(bool asleep)
{
    pthread_mutex_lock(&pool.lock);
    asleep = asleep && ftl__list_is_empty(&pool.mail);
    pool.asleep = asleep;
    pthread_mutex_unlock(&pool.lock);
    return asleep;
}

/* Until there is something to do. An edge that came since the set was last found empty ends the wait
 * at once. */
static int wait_for_events(void)
{
    if (!set_asleep(true))
        return 0;
    int rc = ftl_fd_wait(pool.fd, FTL_READ, pool.timer);
    (void)set_asleep(false);
    return rc == FTL_ETIMEDOUT ? 0 : rc;
}

static void *drive(void *arg)
{
    (void)arg;
    if ((pool.multi == NULL && open_multi() != 0) ||
        ftl_fd_open(ftl_runtime_current(), pool.epoll, &pool.fd) != 0)
        pool.broken = true;
    while (!pool.broken) {
        read_mail();
        bool busy = serve();
        pool.finished = !pool.broken && ftl__list_is_empty(&pool.active);
        if (pool.finished || (busy ? ftl_checkpoint() : wait_for_events()) != 0)
            break;
    }
    return NULL;
}

/* All that libcurl has, and all that waits. */
static void abandon(int rc)
{
    struct ftl__list *node;
    struct ftl__transfer *transfer;
    int state;
    while ((node = pool.active.next) != &pool.active)
        end(ftl__container(node, struct ftl__transfer, active), rc);
    close_multi();
    while ((transfer = take_mail(&state)) != NULL)
        end(transfer, rc);
}

/* However the driver ends, and if it never began. */
static void end_driver(void *arg)
{
    struct ftl_runtime *runtime = NULL;
    (void)arg;
    if (pool.fd != NULL)
        (void)ftl_fd_release(pool.fd);
    pool.fd = NULL;
    if (!pool.finished)
        abandon(pool.broken ? FTL_ENOMEM : FTL_ESHUTDOWN);
    pool.broken = pool.finished = false;
    pthread_mutex_lock(&pool.lock);
    pool.driven = !ftl__list_is_empty(&pool.mail);
    if (pool.driven)
        runtime = ftl__container(pool.mail.next, struct ftl__transfer, mail)->runtime;
    pthread_mutex_unlock(&pool.lock);
    if (runtime != NULL)
        start_driver(runtime);
    else
        ftl__transfers_unref();
}

static void start_driver(struct ftl_runtime *runtime)
{
    const struct ftl_spawn_options options = {
        .name = "http", .arg_free = end_driver, .stack_size = STACK, .migratable = true};
    int rc = ftl_spawn(runtime, drive, &pool, &options, NULL);
    if (rc == 0)
        return;
    pool.broken = rc != FTL_ESHUTDOWN;
    end_driver(&pool);
}

/* ---- the run -------------------------------------------------------------------------------- */

/* Into the mail; what for, its state says. The lock is held, and given up. */
static void post(struct ftl__transfer *transfer, int state)
{
    uint64_t one = 1;
    bool start = !pool.driven, wake = pool.asleep;
    transfer->state = state;
    ftl__list_push_back(&pool.mail, &transfer->mail);
    pool.driven = true;
    pool.asleep = false;
    pool.users += start;
    pthread_mutex_unlock(&pool.lock);
    if (wake)
        (void)!write(pool.event, &one, sizeof(one)); /* never read, never full */
    if (start)
        start_driver(transfer->runtime);
}

static void wait_for_end(struct ftl__transfer *transfer)
{
    void *value;
    ftl_mask();
    ftl_assert(ftl_oneshot_recv(&transfer->done, FTL_FOREVER, &value) == 0);
    ftl_unmask();
}

/* The defer. Whoever waits no longer has the driver let go of the transfer. */
static void drop(void *arg)
{
    struct ftl__transfer *transfer = arg;
    if (transfer->over)
        return;
    transfer->over = true;
    pthread_mutex_lock(&pool.lock);
    if (transfer->state == WAITING) {
        ftl__list_unlink(&transfer->mail);
        transfer->rc = FTL_ECANCELED;
        pthread_mutex_unlock(&pool.lock);
        return;
    }
    if (transfer->state == ACTIVE)
        post(transfer, UNWANTED);
    else
        pthread_mutex_unlock(&pool.lock);
    wait_for_end(transfer);
}

/* The results are empty, the links NULL. */
static void clear(struct ftl__transfer *transfer, struct ftl_runtime *runtime)
{
    const struct ftl__transfer_request *request = transfer->request;
    memset(transfer, 0, sizeof(*transfer));
    transfer->request = request;
    transfer->runtime = runtime;
    ftl_oneshot_init(&transfer->done);
}

int ftl__transfer_run(struct ftl_runtime *runtime, struct ftl__transfer *transfer)
{
    void *value;
    clear(transfer, runtime);
    pthread_mutex_lock(&pool.lock);
    post(transfer, WAITING);
    FTL_DEFER(drop, transfer);
    transfer->over = ftl_oneshot_recv(&transfer->done, FTL_FOREVER, &value) == 0;
    drop(transfer); /* it may have ended meanwhile: then that is what happened */
    return transfer->rc;
}

/* ---- users ---------------------------------------------------------------------------------- */

const struct ftl__curl *ftl__transfers_curl(void)
{
    return pool.curl;
}

static void close_pool(void)
{
    close_multi();
    while (pool.idle_count > 0)
        pool.curl->easy_cleanup(pool.idle[--pool.idle_count]);
    if (pool.epoll >= 0)
        close(pool.epoll);
    if (pool.event >= 0)
        close(pool.event);
    pool.epoll = pool.event = -1;
}

/* By the lock. */
static int open_pool(const struct ftl__curl *curl)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    pool.curl = curl;
    ftl__list_init(&pool.mail);
    ftl__list_init(&pool.active);
    pool.epoll = epoll_create1(EPOLL_CLOEXEC);
    pool.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    event.data.fd = pool.event;
    if (pool.epoll >= 0 && pool.event >= 0 &&
        epoll_ctl(pool.epoll, EPOLL_CTL_ADD, pool.event, &event) == 0)
        return 0;
    close_pool();
    return FTL_ESYS;
}

int ftl__transfers_ref(char *error, size_t error_size)
{
    const struct ftl__curl *curl = ftl__curl_load(error, error_size);
    int rc = 0;
    if (curl == NULL)
        return FTL_EINVAL;
    pthread_mutex_lock(&pool.lock);
    if (pool.users == 0 && (rc = open_pool(curl)) != 0)
        snprintf(error, error_size, "no means for HTTP: %s", strerrordesc_np(errno));
    pool.users += rc == 0;
    pthread_mutex_unlock(&pool.lock);
    return rc;
}

void ftl__transfers_unref(void)
{
    pthread_mutex_lock(&pool.lock);
    if (--pool.users == 0)
        close_pool();
    pthread_mutex_unlock(&pool.lock);
}
