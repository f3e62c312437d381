/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A plain fork: there are no threads yet, and a child of the main thread can ask the kernel
 * to be stopped when that dies, so that a daemon that is killed leaves no server behind. The server
 * is a process group of its own, so that a Ctrl-C in the terminal reaches the daemon alone, which
 * needs Redis for its shutdown. The modules are those beside the program if it runs in its build
 * tree, else the installed ones, among which faults, whose jobs do harm, is not.
 *
 * Two servers on the same files would destroy them, so a directory that is kept has a lock. The server
 * inherits its descriptor: so the lock lasts for as long as either of us lives, from one of our
 * processes to the next, and until a server whose daemon was killed has really ended. */
#include "daemon/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/error.h>
#include <fettle/time.h>

#ifndef FTL_LIBDIR
#define FTL_LIBDIR "/usr/lib"
#endif
#define START_TIMEOUT (10 * FTL_S)
#define STOP_TIMEOUT (10 * FTL_S)
#define CONFIG_MAX 8192
#define PATH_SIZE (PATH_MAX + 64)
#define STATE "FETTLE_DEV" /* environment: PID:TEMPORARY:DIRECTORY */

struct ftl__dev {
    char dir[PATH_MAX];
    char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    bool temporary;
    int lock; /* -1: none, or the server alone has it */
    pid_t pid;
    char config[CONFIG_MAX];
};

/* ---- the directory --------------------------------------------------------------------------- */

static int complain(char *error, size_t size, const char *what)
{
    snprintf(error, size, "--dev: %s: %s", what, strerror(errno));
    return FTL_ESYS;
}

static void path_in(const struct ftl__dev *dev, const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", dev->dir, name);
}

/* The file stays: who removes it takes the lock from under another one's feet. */
static int lock_dir(struct ftl__dev *dev, char *error, size_t error_size)
{
    char path[PATH_SIZE];

    path_in(dev, "lock", path);
    dev->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (dev->lock < 0)
        return complain(error, error_size, path);
    if (flock(dev->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return complain(error, error_size, path);
    snprintf(error, error_size, "--dev: %s: another fettled uses it (lock)", dev->dir);
    return FTL_ESYS;
}

static int make_dir(struct ftl__dev *dev, const char *dir, char *error, size_t error_size)
{
    const char *temporary = getenv("TMPDIR");

    if (dir == NULL) {
        int size = snprintf(dev->dir, sizeof dev->dir, "%s/fettle-dev-XXXXXX",
                            temporary != NULL && temporary[0] == '/' ? temporary : "/tmp");
        if (size < 0 || (size_t)size >= sizeof dev->dir || mkdtemp(dev->dir) == NULL)
            return complain(error, error_size, "a temporary directory");
        dev->temporary = true;
        return 0;
    }
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return complain(error, error_size, dir);
    if (realpath(dir, dev->dir) == NULL)
        return complain(error, error_size, dir);
    return lock_dir(dev, error, error_size);
}

static int make_socket_path(struct ftl__dev *dev, char *error, size_t error_size)
{
    char path[PATH_SIZE];

    path_in(dev, "redis.sock", path);
    if (strlen(path) >= sizeof dev->socket) {
        snprintf(error, error_size, "--dev: %s: too long for a socket", path);
        return FTL_EINVAL;
    }
    if (strpbrk(dev->dir, "\"\\?%# ") != NULL) {
        snprintf(error, error_size, "--dev: %s: a character that would need quoting", dev->dir);
        return FTL_EINVAL;
    }
    memcpy(dev->socket, path, strlen(path) + 1);
    return 0;
}

static void remove_dir(const struct ftl__dev *dev)
{
    static const char *const names[] = {"redis.sock", "redis.log"};
    char path[PATH_SIZE];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_in(dev, names[i], path);
        unlink(path);
    }
    rmdir(dev->dir);
}

/* ---- the configuration ----------------------------------------------------------------------- */

static void find_modules(char path[PATH_SIZE])
{
    char program[PATH_MAX], sample[PATH_SIZE + 16];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash;

    if (size > 0) {
        program[size] = '\0';
        slash = strrchr(program, '/');
        if (slash != NULL) {
            *slash = '\0';
            snprintf(path, PATH_SIZE, "%s/modules", program);
            snprintf(sample, sizeof sample, "%s/hello.so", path);
            if (access(sample, R_OK) == 0)
                return;
        }
    }
    snprintf(path, PATH_SIZE, "%s", FTL_LIBDIR "/fettle");
}

static bool has_faults(const char *modules)
{
    char path[PATH_SIZE + 16];

    snprintf(path, sizeof path, "%s/faults.so", modules);
    return access(path, R_OK) == 0;
}

static int make_config(struct ftl__dev *dev, char *error, size_t error_size)
{
    char modules[PATH_SIZE];
    int size;

    find_modules(modules);
    size = snprintf(dev->config, sizeof dev->config,
                    "redis = { url = \"unix://%s?db=0\"; };\n"
                    "queues = ( { name = \"critical\"; }, { name = \"default\"; }, "
                    "{ name = \"low\"; } );\n"
                    "module_path = [ \"%s\" ];\n"
                    "handlers = ( { class = \"*\"; module = \"hello\"; }%s );\n"
                    "log = { jobs = \"all\"; };\n",
                    dev->socket, modules,
                    has_faults(modules) ? ", { class = \"*\"; module = \"faults\"; }" : "");
    if (size > 0 && (size_t)size < sizeof dev->config)
        return 0;
    snprintf(error, error_size, "--dev: %s: too long", modules);
    return FTL_EINVAL;
}

/* ---- the server ------------------------------------------------------------------------------ */

/* In the child: only what is safe after a fork. */
static void run_server(const struct ftl__dev *dev, pid_t parent, int failure)
{
    const char *argv[] = {"redis-server", "--port", "0", "--unixsocket", dev->socket,
                          "--unixsocketperm", "700", "--dir", dev->dir, "--logfile", "redis.log",
                          "--daemonize", "no", "--save", "", "--appendonly",
                          dev->temporary ? "no" : "yes", NULL};
    sigset_t none;
    int error;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (dev->lock >= 0 && fcntl(dev->lock, F_SETFD, 0) != 0)
        _exit(127);
    if (getppid() != parent)
        _exit(127);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    error = errno;
    if (write(failure, &error, sizeof error) < 0)
        _exit(126);
    _exit(127);
}

/* The pipe closes when the program runs, and brings an errno when it does not. */
static int start_server(struct ftl__dev *dev, char *error, size_t error_size)
{
    pid_t parent = getpid();
    int pipes[2], failure = 0;
    ssize_t size;

    if (pipe2(pipes, O_CLOEXEC) != 0)
        return complain(error, error_size, "pipe");
    dev->pid = fork();
    if (dev->pid == 0)
        run_server(dev, parent, pipes[1]);
    close(pipes[1]);
    if (dev->pid < 0) {
        close(pipes[0]);
        return complain(error, error_size, "fork");
    }
    do
        size = read(pipes[0], &failure, sizeof failure);
    while (size < 0 && errno == EINTR);
    close(pipes[0]);
    if (size != (ssize_t)sizeof failure)
        return 0;
    errno = failure;
    return complain(error, error_size, "redis-server");
}

/* Nothing but trying tells when a server begins to listen. */
static bool is_listening(const struct ftl__dev *dev)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int status;

    if (fd < 0)
        return false;
    memcpy(address.sun_path, dev->socket, sizeof address.sun_path);
    status = connect(fd, (const struct sockaddr *)&address, sizeof address);
    close(fd);
    return status == 0;
}

static int wait_listening(struct ftl__dev *dev, char *error, size_t error_size)
{
    int64_t deadline = ftl_deadline(START_TIMEOUT);
    int status;

    while (!is_listening(dev)) {
        if (waitpid(dev->pid, &status, WNOHANG) == dev->pid) {
            dev->pid = 0;
            dev->temporary = false; /* its log says why */
            snprintf(error, error_size, "--dev: redis-server has ended: see %s/redis.log",
                     dev->dir);
            return FTL_ESYS;
        }
        if (ftl_now() >= deadline) {
            snprintf(error, error_size, "--dev: redis-server does not listen on %s", dev->socket);
            return FTL_ESYS;
        }
        ftl_sleep(5 * FTL_MS);
    }
    return 0;
}

static void stop_server(pid_t pid)
{
    int64_t deadline = ftl_deadline(STOP_TIMEOUT);
    int status;

    kill(pid, SIGTERM);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (ftl_now() >= deadline)
            kill(pid, SIGKILL);
        ftl_sleep(5 * FTL_MS);
    }
}

/* ---- from one process to the next, under the same pid (restart.c) ----------------------------- */

pid_t ftl__dev_keep(const struct ftl__dev *dev)
{
    char state[PATH_SIZE];

    if (dev == NULL)
        return 0;
    snprintf(state, sizeof state, "%d:%d:%s", (int)dev->pid, dev->temporary, dev->dir);
    if (setenv(STATE, state, 1) != 0)
        return 0; /* without memory for it, another server is started */
    return dev->pid;
}

/* True: a server is there, our child already. */
static bool take_over(struct ftl__dev *dev)
{
    const char *state = getenv(STATE);
    int pid = 0, temporary = 0, size = 0, status;

    if (state == NULL)
        return false;
    if (sscanf(state, "%d:%d:%n", &pid, &temporary, &size) == 2 && size > 0 &&
        waitpid(pid, &status, WNOHANG) == 0) {
        dev->pid = pid;
        dev->temporary = temporary != 0;
        snprintf(dev->dir, sizeof dev->dir, "%s", state + size);
    }
    unsetenv(STATE);
    return dev->pid > 0;
}

int ftl__dev_start(const char *dir, struct ftl__dev **ret_dev, char *error, size_t error_size)
{
    struct ftl__dev *dev = calloc(1, sizeof *dev);
    bool kept;
    int code;

    if (dev == NULL) {
        snprintf(error, error_size, "--dev: out of memory");
        return FTL_ENOMEM;
    }
    dev->lock = -1;
    kept = take_over(dev);
    code = kept ? 0 : make_dir(dev, dir, error, error_size);
    if (code == 0)
        code = make_socket_path(dev, error, error_size);
    if (code == 0)
        code = make_config(dev, error, error_size);
    if (code == 0 && !kept)
        code = start_server(dev, error, error_size);
    if (code == 0)
        code = wait_listening(dev, error, error_size);
    if (code == 0)
        *ret_dev = dev;
    else
        ftl__dev_stop(dev);
    return code;
}

void ftl__dev_stop(struct ftl__dev *dev)
{
    if (dev == NULL)
        return;
    if (dev->pid > 0)
        stop_server(dev->pid);
    if (dev->temporary)
        remove_dir(dev);
    if (dev->lock >= 0)
        close(dev->lock);
    free(dev);
}

const char *ftl__dev_config(const struct ftl__dev *dev)
{
    return dev->config;
}

void ftl__dev_announce(const struct ftl__dev *dev)
{
    printf("fettled: ready, with a private Redis in %s. Enqueue with\n\n"
           "    redis-cli -s %s LPUSH queue:default "
           "'{\"class\":\"Hello\",\"args\":[\"world\"]}'\n\n"
           "Ctrl-C stops both.\n",
           dev->dir, dev->socket);
    fflush(stdout);
}
