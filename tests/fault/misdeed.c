/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A command for the storm: takes a job on stdin whose args are [cell, amount, …], raises its
 * cell in the file that $FTL_PROBE names (tests/modules/probe.c), and does what its argument says. It
 * links nothing of fettle. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

static volatile size_t sink;

/* ---- the job ----------------------------------------------------------------------------- */

static void read_args(size_t *ret_cell, double *ret_amount)
{
    static char text[65536];
    size_t size = fread(text, 1, sizeof text - 1, stdin);
    const char *args = strstr(text, "\"args\"");
    text[size] = '\0';
    args = args != NULL ? strchr(args, '[') : NULL;
    if (args == NULL || sscanf(args, "[%zu , %lf", ret_cell, ret_amount) < 1)
        exit(99);
}

static void count(size_t cell)
{
    const char *path = getenv("FTL_PROBE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || (size_t)status.st_size < PAGE + 8 * (cell + 1))
        exit(98);
    char *map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        exit(97);
    __atomic_fetch_add((int64_t *)(void *)(map + PAGE) + cell, 1, __ATOMIC_SEQ_CST);
    close(fd);
}

/* ---- deeds -------------------------------------------------------------------------------- */

static size_t recurse(size_t depth)
{
    volatile char frame[4096];
    frame[depth % sizeof frame] = (char)depth;
    if (sink == SIZE_MAX)
        return depth;
    return recurse(depth + 1) + (size_t)frame[depth % sizeof frame];
}

static void overflow(double amount)
{
    (void)amount;
    sink = recurse(1);
}

static void divide(double amount)
{
    volatile int zero = 0, many = (int)amount + 7;
    sink = (size_t)(many / zero);
}

static void illegal(double amount)
{
    (void)amount;
    raise(SIGILL);
}

static void abort_it(double amount)
{
    (void)amount;
    abort();
}

static void null_read(double amount)
{
    const volatile char *volatile nowhere = NULL;
    (void)amount;
    sink = (size_t)*nowhere;
}

static void wild_write(double amount)
{
    volatile char *volatile somewhere = (volatile char *)(uintptr_t)0x10;
    (void)amount;
    *somewhere = 1;
}

static void corrupt(double amount)
{
    char *volatile block = malloc(24);
    (void)amount;
    free(block);
    free(block); /* the C library notices that */
}

static void leave(double amount)
{
    (void)amount;
    exit(3);
}

static void spin(double seconds)
{
    struct timespec now, begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        sink++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 <
             seconds);
}

static void leak(double bytes)
{
    char *block = malloc((size_t)bytes);
    if (block == NULL)
        exit(12);
    memset(block, 1, (size_t)bytes);
    sink = (size_t)(uintptr_t)block;
}

/* Children that hold the pipes, do not listen, and would stay for ten minutes. */
static void forget(double children)
{
    for (int i = 0; i < (int)children; i++)
        if (fork() == 0) {
            signal(SIGTERM, SIG_IGN);
            sleep(600);
            _exit(0);
        }
}

static void flood(double bytes)
{
    static const char line[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678\n";
    for (double left = bytes; left > 0; left -= sizeof line - 1)
        if (fwrite(line, 1, sizeof line - 1, stdout) == 0)
            exit(4);
}

static void nothing(double amount)
{
    (void)amount;
}

static const struct {
    const char *name;
    void (*fn)(double amount);
} deeds[] = {
    {"count", nothing},   {"overflow", overflow},     {"divide", divide},
    {"illegal", illegal}, {"abort", abort_it},        {"null_read", null_read},
    {"leak", leak},       {"wild_write", wild_write}, {"corrupt", corrupt},
    {"exit", leave},      {"spin", spin},             {"forget", forget},
    {"flood", flood},
};

int main(int argc, char **argv)
{
    double amount = 0;
    size_t cell;
    read_args(&cell, &amount);
    count(cell);
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        if (argc == 2 && strcmp(argv[1], deeds[i].name) == 0) {
            deeds[i].fn(amount);
            return 0;
        }
    return 96;
}
