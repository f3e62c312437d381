/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Runs a fuzz target without a fuzzing compiler, so that `make check` keeps it alive: the files
 * given as arguments, or else the target's seeds and many mutations of them, from a random seed
 * that is printed first and can be given in FUZZ_SEED. FUZZ_RUNS is the number of mutations. An
 * input that makes the target abort is left in fuzz-crash.txt in the current directory. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define MAX_INPUT 4096

static uint64_t state;

/* The input that is being tried, for the crash handler. */
static struct {
    const uint8_t *data;
    size_t size;
} current;

static uint32_t below(uint32_t limit)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % limit;
}

static void on_abort(int signal_number)
{
    int fd = open("fuzz-crash.txt", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, current.data, current.size) >= 0)
        (void)close(fd);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

/* In memory of its own exact size, so that a sanitizer sees a byte read too far. */
static void try_input(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data, size);
    current.data = copy;
    current.size = size;
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t seed_count(void)
{
    size_t count = 0;
    while (fuzz_seeds[count] != NULL)
        count++;
    return count;
}

static size_t insert(uint8_t *data, size_t size, size_t at, const char *bytes, size_t count)
{
    if (size + count > MAX_INPUT)
        return size;
    memmove(data + at + count, data + at, size - at);
    memcpy(data + at, bytes, count);
    return size + count;
}

static size_t cut(uint8_t *data, size_t size, size_t at, size_t count)
{
    if (count > size - at)
        count = size - at;
    memmove(data + at, data + at + count, size - at - count);
    return size - count;
}

/* A piece of another seed. */
static size_t graft(uint8_t *data, size_t size, size_t at)
{
    const char *other = fuzz_seeds[below((uint32_t)seed_count())];
    size_t length = strlen(other);
    size_t from = below((uint32_t)length + 1);
    return insert(data, size, at, other + from, below((uint32_t)(length - from) + 1));
}

static size_t mutate(uint8_t *data, size_t size)
{
    static const char special[] =
        "{}[]\",:\\ \n-+.eE0123456789utrfn/\x00\x1f\x7f\x80\xc3\xe2\xed\xf0\xff";
    uint32_t at = below((uint32_t)size + 1);
    char byte = special[below(sizeof(special) - 1)];
    switch (below(6)) {
    case 0:
        return insert(data, size, at, &byte, 1);
    case 1:
        return cut(data, size, at, 1 + below(8));
    case 2:
        return graft(data, size, at);
    case 3:
        if (at < size)
            data[at] ^= (uint8_t)(1u << below(8));
        return size;
    default:
        if (at < size)
            data[at] = (uint8_t)byte;
        return size;
    }
}

static void try_mutations(long runs)
{
    uint32_t seeds = (uint32_t)seed_count();
    for (long run = 0; run < runs; run++) {
        uint8_t data[MAX_INPUT];
        const char *seed = fuzz_seeds[below(seeds)];
        size_t size = strlen(seed);
        FUZZ_CHECK(size <= MAX_INPUT);
        memcpy(data, seed, size);
        for (uint32_t i = 0, count = below(5); i < count; i++)
            size = mutate(data, size);
        try_input(data, size);
    }
}

static void try_file(const char *name)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(name, "rbe");
    FUZZ_CHECK(file != NULL);
    size_t size = fread(data, 1, sizeof(data), file);
    (void)fclose(file);
    try_input(data, size);
    printf("# %s\n", name);
}

int main(int argc, char **argv)
{
    const char *given_seed = getenv("FUZZ_SEED"), *given_runs = getenv("FUZZ_RUNS");
    const char *slow = getenv("FTL_TEST_SLOW");
    long factor = slow != NULL && atol(slow) > 0 ? atol(slow) : 1;
    long runs = given_runs != NULL ? atol(given_runs) : 100000 / factor;
    state = given_seed != NULL ? strtoull(given_seed, NULL, 10) : (uint64_t)time(NULL);
    printf("1..1\n# FUZZ_SEED=%" PRIu64 "\n", state);
    (void)fflush(stdout);
    (void)signal(SIGABRT, on_abort);
    for (int i = 1; i < argc; i++)
        try_file(argv[i]);
    if (argc == 1)
        try_mutations(runs);
    printf("ok 1 - %ld inputs\n", argc == 1 ? runs : (long)argc - 1);
    return 0;
}
