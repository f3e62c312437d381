/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Children are started by fork and exec, die with the bench (PR_SET_PDEATHSIG) and are
 * stopped by an exit handler, which then removes the directory. Only the process that opened it does
 * so: a bench may fork. Waiting for a socket to appear is the one place that looks again and again;
 * nothing that is measured runs then. */
#include "bench/private.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_SECONDS = 20, PROBE_PAGE = 4096 };

static struct bench_private *opened;

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

int64_t bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void bench_sleep(int64_t ns)
{
    struct timespec span = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (nanosleep(&span, &span) != 0 && errno == EINTR)
        ;
}

int bench_compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *ftw)
{
    (void)status, (void)flag, (void)ftw;
    return remove(path);
}

static void stop(pid_t *pid, int signal)
{
    if (*pid <= 0)
        return;
    (void)kill(*pid, signal);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *pid = 0;
}

static void clean_up(void)
{
    if (opened == NULL || opened->owner != getpid())
        return;
    stop(&opened->fettled, SIGKILL);
    stop(&opened->redis, SIGKILL);
    (void)nftw(opened->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Starts argv with `err` as its stderr (-1: ours) and nothing on stdout. */
static pid_t start(const char *const argv[], int err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    int null = open("/dev/null", O_RDWR);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || null < 0 ||
        dup2(null, STDOUT_FILENO) < 0 || (err >= 0 && dup2(err, STDERR_FILENO) < 0))
        _exit(126);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

redisContext *bench_connect(const struct bench_private *bench)
{
    redisContext *context = redisConnectUnix(bench->socket);
    if (context == NULL || context->err != 0)
        bench_die("%s: %s", bench->socket, context != NULL ? context->errstr : "out of memory");
    return context;
}

/* The socket is there before it is listened to. */
static bool answers(struct bench_private *bench)
{
    if (access(bench->socket, F_OK) != 0)
        return false;
    bench->context = redisConnectUnix(bench->socket);
    if (bench->context != NULL && bench->context->err == 0)
        return true;
    redisFree(bench->context);
    return false;
}

static void wait_for_redis(struct bench_private *bench)
{
    int64_t end = bench_now() + (int64_t)START_SECONDS * 1000000000;
    while (!answers(bench)) {
        if (bench_now() > end || waitpid(bench->redis, NULL, WNOHANG) != 0)
            bench_die("redis-server did not start");
        bench_sleep(5000000);
    }
    freeReplyObject(bench_call(bench->context, "PING"));
}

void bench_private_open(struct bench_private *bench)
{
    *bench = (struct bench_private){.owner = getpid(), .fettled_log = -1};
    const char *parent = getenv("TMPDIR");
    snprintf(bench->dir, sizeof bench->dir, "%.40s/fettle-bench-XXXXXX",
             parent != NULL ? parent : "/tmp");
    if (mkdtemp(bench->dir) == NULL)
        bench_die("%s: %s", bench->dir, strerror(errno));
    opened = bench;
    atexit(clean_up);
    snprintf(bench->socket, sizeof bench->socket, "%s/redis.sock", bench->dir);
    const char *const argv[] = {"redis-server", "--port",       "0",   "--unixsocket",
                                bench->socket,  "--dir",        bench->dir, "--save",
                                "",             "--appendonly", "no",  NULL};
    bench->redis = start(argv, -1);
    wait_for_redis(bench);
}

void bench_build_path(char *buf, size_t size, const char *name)
{
    const char *build = getenv("BUILDDIR");
    char self[256];
    if (build != NULL) {
        snprintf(buf, size, "%s/%s", build, name);
        return;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        bench_die("/proc/self/exe: %s", strerror(errno));
    self[length] = '\0';
    for (char *slash = strrchr(self, '/'); slash != NULL; slash = strrchr(self, '/')) {
        *slash = '\0';
        snprintf(buf, size, "%s/%s", self, name);
        if (access(buf, F_OK) == 0)
            return;
    }
    bench_die("%s: not found above the program; set BUILDDIR", name);
}

/* Reads the log until it says ready; what came before is shown if that never happens. */
static void wait_until_ready(struct bench_private *bench)
{
    char text[16384] = "";
    size_t length = 0;
    int64_t end = bench_now() + (int64_t)START_SECONDS * 1000000000;
    while (strstr(text, "daemon.ready") == NULL) {
        struct pollfd poll_fd = {.fd = bench->fettled_log, .events = POLLIN};
        int timeout = (int)((end - bench_now()) / 1000000);
        ssize_t got = 0;
        if (timeout > 0 && length < sizeof text - 1 && poll(&poll_fd, 1, timeout) == 1)
            got = read(bench->fettled_log, text + length, sizeof text - 1 - length);
        if (got <= 0)
            bench_die("fettled did not become ready:\n%s", text);
        length += (size_t)got;
        text[length] = '\0';
    }
}

void bench_private_fettled(struct bench_private *bench, const char *config)
{
    char path[96], program[512];
    snprintf(path, sizeof path, "%s/fettled.conf", bench->dir);
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(config, file) < 0 || fclose(file) != 0)
        bench_die("%s: %s", path, strerror(errno));
    if (getenv("FETTLED") != NULL)
        snprintf(program, sizeof program, "%s", getenv("FETTLED"));
    else
        bench_build_path(program, sizeof program, "fettled");
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    const char *const argv[] = {program, "--config", path, NULL};
    bench->fettled = start(argv, ends[1]);
    (void)close(ends[1]);
    bench->fettled_log = ends[0];
    wait_until_ready(bench);
}

void bench_private_stop_fettled(struct bench_private *bench)
{
    stop(&bench->fettled, SIGTERM);
    (void)close(bench->fettled_log);
    bench->fettled_log = -1;
}

static redisReply *checked(redisContext *context, redisReply *reply)
{
    if (reply == NULL)
        bench_die("redis: %s", context->errstr);
    if (reply->type == REDIS_REPLY_ERROR)
        bench_die("redis: %s", reply->str);
    return reply;
}

redisReply *bench_call(redisContext *context, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    return checked(context, reply);
}

long long bench_integer(redisContext *context, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = checked(context, redisvCommand(context, format, args));
    va_end(args);
    long long value = reply->integer;
    freeReplyObject(reply);
    return value;
}

_Atomic int64_t *bench_probe(struct bench_private *bench, size_t cells)
{
    char path[96];
    snprintf(path, sizeof path, "%s/probe", bench->dir);
    size_t size = PROBE_PAGE + cells * sizeof(int64_t);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || setenv("FTL_PROBE", path, 1) != 0)
        bench_die("%s: %s", path, strerror(errno));
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        bench_die("%s: %s", path, strerror(errno));
    (void)close(fd);
    return (_Atomic int64_t *)(void *)(map + PROBE_PAGE);
}
