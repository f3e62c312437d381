/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What the runtime asks of the system, as the explorer has it: memory that is put back before each
 * schedule, futexes, epoll sets with eventfds in them, a clock that moves only when a deadline is
 * what ends a wait, threads. The linker leads the runtime's calls here (--wrap); what does not
 * matter to the order of things goes through to the real system.
 *
 * thread.c of the runtime, its thread-local variables, is replaced: threads here are contexts. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/worker.h"
#include "tests/model/explore.h"

/* ---- memory ---- */

enum { ARENA = 4 << 20, ALIGN = 16 };
static const size_t maps_size = (size_t)1 << 30;

static _Alignas(4096) char arena[ARENA];
static char snapshot[ARENA];
static size_t used, used_before; /* now, after setup() */
static char *maps;
static size_t mapped, mapped_before;

struct event {
    uint64_t count;
    bool edge; /* written to since epoll looked */
    int epoll; /* the set that watches it */
    epoll_data_t data;
};
enum { EVENTS = 4, FIRST_FD = 100000, FIRST_EPOLL_FD = 200000 };
static struct event events[EVENTS], events_before[EVENTS];
static int event_count, event_count_before;
static int epoll_count; /* sets are made by setup() only */

void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);

void model_system_forget(void)
{
    memset(arena, 0, used);
    used = mapped = 0;
    event_count = epoll_count = 0;
    model_memory_forget();
    if (!maps) {
        maps = __real_mmap(NULL, maps_size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (maps == MAP_FAILED)
            abort();
    }
}

void model_system_snapshot(void)
{
    memcpy(snapshot, arena, used);
    memcpy(events_before, events, sizeof events);
    used_before = used;
    mapped_before = mapped;
    event_count_before = event_count;
}

void model_system_restore(void)
{
    memcpy(arena, snapshot, used_before);
    memcpy(events, events_before, sizeof events);
    used = used_before;
    mapped = mapped_before;
    event_count = event_count_before;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    size_t at = (used + ALIGN + alignment - 1) / alignment * alignment; /* room for the size */
    if (at + size > ARENA)
        return NULL;
    used = (at + size + ALIGN - 1) / ALIGN * ALIGN;
    memset(arena + at, 0, size);
    memcpy(arena + at - sizeof size, &size, sizeof size);
    return arena + at;
}

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return __wrap_aligned_alloc(ALIGN, size);
}

void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return __wrap_aligned_alloc(ALIGN, count * size);
}

void __wrap_free(void *block);
void __wrap_free(void *block)
{
    size_t size;
    if (!block)
        return;
    memcpy(&size, (char *)block - sizeof size, sizeof size);
    model_plain_freed(block, size);
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    (void)at, (void)prot, (void)flags, (void)fd, (void)offset;
    char *block = maps + mapped;
    mapped += size;
    return mapped <= maps_size ? block : MAP_FAILED;
}

/* Its name where off_t has 64 bits by choice. */
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset)
    __attribute__((alias("__wrap_mmap")));

int __wrap_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size)
{
    (void)at, (void)size;
    return 0;
}

int __wrap_mprotect(void *at, size_t size, int prot);
int __wrap_mprotect(void *at, size_t size, int prot)
{
    (void)at, (void)size, (void)prot;
    return 0;
}

int __wrap_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice)
{
    (void)at, (void)size, (void)advice;
    return 0;
}

/* ---- futexes ---- */

static long futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *until)
{
    model_operation();
    model_point(true);
    if (model_memory_newest(word) != expected) {
        errno = EAGAIN;
        return -1;
    }
    int64_t deadline = until ? until->tv_sec * 1000000000 + until->tv_nsec : INT64_MAX;
    if (!model_block(ON_FUTEX, word, deadline))
        return 0;
    errno = ETIMEDOUT;
    return -1;
}

static long futex(const long *args)
{
    const uint32_t *word = (const uint32_t *)args[0]; /* NOLINT(performance-no-int-to-ptr) */
    if ((args[1] & FUTEX_CMD_MASK) != FUTEX_WAKE)
        return futex_wait(word, (uint32_t)args[2], (const struct timespec *)args[3]);
    if (model_self) {
        model_operation();
        model_point(true);
        model_wake(ON_FUTEX, word, (int)args[2]);
    }
    return 0;
}

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long args[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        args[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex)
        return futex(args);
    if (number == SYS_membarrier) {
        if (model_self && args[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            model_operation();
            model_point(true);
            model_memory_barrier();
        }
        return 0;
    }
    errno = ENOSYS;
    return -1;
}

/* ---- epoll and eventfd ---- */

int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
    (void)flags;
    return FIRST_EPOLL_FD + epoll_count++;
}

int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags)
{
    (void)flags;
    if (event_count == EVENTS)
        return -1;
    events[event_count] = (struct event){.count = count};
    return FIRST_FD + event_count++;
}

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_ADD && fd >= FIRST_FD) {
        events[fd - FIRST_FD].epoll = epoll;
        events[fd - FIRST_FD].data = event->data;
    }
    if (op == EPOLL_CTL_DEL && fd >= FIRST_FD) {
        model_operation();
        model_point(true);
        events[fd - FIRST_FD].epoll = -1;
    }
    return 0;
}

int __wrap_close(int fd);
int __wrap_close(int fd)
{
    (void)fd;
    return 0;
}

int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    (void)fd, (void)command;
    return O_NONBLOCK | FD_CLOEXEC;
}
int __wrap_fcntl(int fd, int command, ...) __attribute__((alias("__wrap_fcntl64")));

/* What stands for a set: who waits for it waits on this. */
static const void *epoll_set(int epoll)
{
    static const char sets[EVENTS];
    return &sets[epoll - FIRST_EPOLL_FD];
}

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (fd < FIRST_FD)
        return __real_write(fd, bytes, size);
    model_operation();
    model_point(true);
    events[fd - FIRST_FD].count++;
    events[fd - FIRST_FD].edge = true;
    model_progress();
    if (events[fd - FIRST_FD].epoll >= 0)
        model_wake(ON_EPOLL, epoll_set(events[fd - FIRST_FD].epoll), 1);
    return 8;
}

ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
    if (fd < FIRST_FD)
        return __real_read(fd, bytes, size);
    model_operation();
    model_point(true);
    memcpy(bytes, &events[fd - FIRST_FD].count, 8);
    events[fd - FIRST_FD].count = 0;
    return 8;
}

static int take_events(int epoll, struct epoll_event *ret_events, int max)
{
    int n = 0;
    for (int i = 0; i < event_count && n < max; i++) {
        if (events[i].epoll != epoll || !events[i].edge)
            continue;
        events[i].edge = false;
        ret_events[n++] = (struct epoll_event){.events = EPOLLIN, .data = events[i].data};
    }
    return n;
}

static int wait_for_events(int epoll, struct epoll_event *ret_events, int max, int64_t timeout)
{
    model_operation();
    model_point(true);
    int n = take_events(epoll, ret_events, max);
    if (n > 0 || timeout == 0)
        return n;
    model_block(ON_EPOLL, epoll_set(epoll), timeout < 0 ? INT64_MAX : model_clock + timeout);
    return take_events(epoll, ret_events, max);
}

int __wrap_epoll_wait(int epoll, struct epoll_event *ret_events, int max, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *ret_events, int max, int timeout)
{
    return wait_for_events(epoll, ret_events, max, (int64_t)timeout * 1000000);
}

int __wrap_epoll_pwait2(int epoll, struct epoll_event *ret_events, int max,
                        const struct timespec *timeout, const sigset_t *mask);
int __wrap_epoll_pwait2(int epoll, struct epoll_event *ret_events, int max,
                        const struct timespec *timeout, const sigset_t *mask)
{
    (void)mask;
    return wait_for_events(epoll, ret_events, max,
                           timeout ? timeout->tv_sec * 1000000000 + timeout->tv_nsec : -1);
}

/* ---- time ---- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    (void)clock;
    *ret = (struct timespec){model_clock / 1000000000, model_clock % 1000000000};
    return 0;
}

int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
    model_yield();
    return 0;
}

/* ---- threads ---- */

static void *(*const worker_main)(void *) = ftl__worker_main;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg)
{
    (void)attr;
    if (model_self && fn == worker_main)
        return EAGAIN; /* no thread begins in the middle of a schedule */
    *thread = fn == worker_main ? (pthread_t)model_thread_count : MODEL_THREADS;
    if (fn == worker_main)
        model_thread(fn, arg);
    return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    (void)thread, (void)name;
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret);
int __wrap_pthread_join(pthread_t thread, void **ret)
{
    struct thread *joined = &model_threads[thread];
    (void)ret;
    if (thread == MODEL_THREADS) /* the monitor's, which is not there */
        return 0;
    if (joined->state != RETURNED)
        model_block(ON_JOIN, joined, INT64_MAX);
    model_view_join(&model_self->now, &joined->now);
    return 0;
}

FTL_NORETURN void __wrap_ftl_panic(const char *format, ...);
void __wrap_ftl_panic(const char *format, ...)
{
    model_fail("panic: %s", format);
    abort();
}

struct ftl_runtime *model_runtime(unsigned workers)
{
    struct ftl_runtime *runtime;
    const struct ftl_runtime_options options = {.workers = workers};
    if (ftl_runtime_start(&options, &runtime) != 0)
        abort();
    return runtime;
}

/* In place of thread.c. */

struct ftl__worker *ftl__worker_current(void)
{
    return model_self ? model_self->worker : NULL;
}

void ftl__worker_set_current(struct ftl__worker *worker)
{
    model_self->worker = worker;
}

struct ftl__strand *ftl__thread_strand(void)
{
    static struct ftl__strand outside;
    return model_self ? &model_self->strand : &outside;
}
