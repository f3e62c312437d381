/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Two buffers: callers append to one under a lock, the thread writes the other without it,
 * and then they change places. So a line waits for no other, the order is that of the appends, and
 * under load many lines share a write. When the one is full, lines are dropped until the next
 * change, and a line in the place of the gap says how many.
 *
 * To ask poll(2) first and write directly would be no remedy: others may fill the same pipe in
 * between, and a stopped terminal or a file system that hangs are always writable. The price: a
 * process that is killed loses the lines of its last moment.
 *
 * A line that could not be written to its end (no space, or 100 ms of a full non-blocking stderr
 * while lines are written directly) is followed by a newline before the next. */
#include "daemon/log_writer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fettle/error.h>
#include <fettle/time.h>

#define DIRECT_PATIENCE 100 /* ms */

struct buffer {
    size_t size;
    char bytes[FTL__LOG_BUFFER]; /* only what is used becomes resident */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t news;  /* for the thread: there are lines, or `stopping` */
    pthread_cond_t ended; /* for the stop */
    pthread_t thread;
    void (*describe)(struct ftl__line *line, uint64_t count); /* written before the thread starts */
    /* under the lock */
    enum { DIRECT, RUNNING, STOPPING, LOST } state;
    struct buffer *fill; /* the other one is the thread's */
    uint64_t dropped;    /* since the buffers changed places */
    /* of whoever writes: the thread, or in DIRECT who holds the lock */
    bool cut_off; /* the last line lost its end */
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};

static struct buffer buffers[2];

/* Returns how much of it was written. `patience`: ms for which a non-blocking stderr may take
 * nothing, or -1. */
static size_t write_all(const char *bytes, size_t size, int patience)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = write(STDERR_FILENO, bytes + done, size - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd pollfd = {.fd = STDERR_FILENO, .events = POLLOUT};
            if (poll(&pollfd, 1, patience) == 0)
                break;
        } else if (errno != EINTR) {
            break;
        }
    }
    return done;
}

/* As many whole lines as a pipe takes at once, so that others who write to it do not get into a
 * line; a longer line alone. */
static size_t next_write(const char *bytes, size_t size)
{
    const char *end;
    if (size <= PIPE_BUF)
        return size;
    end = memrchr(bytes, '\n', PIPE_BUF);
    if (end == NULL)
        end = memchr(bytes, '\n', size);
    return end == NULL ? size : (size_t)(end - bytes) + 1;
}

static void write_lines(const char *bytes, size_t size, int patience)
{
    if (writer.cut_off)
        writer.cut_off = write_all("\n", 1, patience) == 0;
    if (!writer.cut_off) {
        size_t done = write_all(bytes, size, patience);
        writer.cut_off = done > 0 && done < size;
    }
}

static void write_buffer(struct buffer *buffer)
{
    for (size_t at = 0, size; at < buffer->size; at += size) {
        size = next_write(buffer->bytes + at, buffer->size - at);
        write_lines(buffer->bytes + at, size, -1);
    }
    buffer->size = 0;
}

static void write_gap(uint64_t dropped)
{
    static struct ftl__line line; /* the thread's */
    writer.describe(&line, dropped);
    write_lines(line.bytes, line.size, -1);
}

static void *writer_main(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&writer.lock);
    for (;;) {
        while (writer.fill->size == 0 && writer.state == RUNNING)
            pthread_cond_wait(&writer.news, &writer.lock);
        if (writer.fill->size == 0)
            break;
        struct buffer *full = writer.fill;
        uint64_t dropped = writer.dropped;
        writer.fill = full == &buffers[0] ? &buffers[1] : &buffers[0];
        writer.dropped = 0;
        pthread_mutex_unlock(&writer.lock);
        write_buffer(full);
        if (dropped > 0)
            write_gap(dropped);
        pthread_mutex_lock(&writer.lock);
    }
    if (writer.state == STOPPING)
        writer.state = DIRECT;
    pthread_cond_signal(&writer.ended);
    pthread_mutex_unlock(&writer.lock);
    return NULL;
}

int ftl__log_writer_start(void (*describe)(struct ftl__line *line, uint64_t count))
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writer.ended, &attributes);
    pthread_condattr_destroy(&attributes);

    pthread_mutex_lock(&writer.lock);
    writer.describe = describe;
    writer.fill = &buffers[0];
    int error = pthread_create(&writer.thread, NULL, writer_main, NULL);
    if (error == 0)
        writer.state = RUNNING;
    pthread_mutex_unlock(&writer.lock);
    errno = error;
    return error == 0 ? 0 : FTL_ESYS;
}

void ftl__log_writer_stop(int64_t timeout)
{
    int64_t deadline = ftl_deadline(timeout);
    struct timespec until = {.tv_sec = deadline / FTL_S, .tv_nsec = deadline % FTL_S};

    pthread_mutex_lock(&writer.lock);
    bool running = writer.state == RUNNING;
    if (running) {
        writer.state = STOPPING;
        pthread_cond_signal(&writer.news);
        while (writer.state == STOPPING &&
               pthread_cond_timedwait(&writer.ended, &writer.lock, &until) == 0)
            continue;
    }
    if (writer.state == STOPPING)
        writer.state = LOST;
    bool ended = running && writer.state == DIRECT;
    pthread_mutex_unlock(&writer.lock);
    if (ended)
        pthread_join(writer.thread, NULL);
    else if (running)
        pthread_detach(writer.thread);
}

static void append(const struct ftl__line *line)
{
    struct buffer *fill = writer.fill;
    if (writer.dropped > 0 || line->size > sizeof(fill->bytes) - fill->size) {
        writer.dropped++;
        return;
    }
    memcpy(fill->bytes + fill->size, line->bytes, line->size);
    fill->size += line->size;
    if (fill->size == line->size)
        pthread_cond_signal(&writer.news);
}

void ftl__log_write(const struct ftl__line *line)
{
    int saved = errno;
    pthread_mutex_lock(&writer.lock);
    if (writer.state == DIRECT)
        write_lines(line->bytes, line->size, DIRECT_PATIENCE);
    else if (writer.state != LOST)
        append(line);
    pthread_mutex_unlock(&writer.lock);
    errno = saved;
}
