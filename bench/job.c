/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What a job's way through jobs/job costs: the scan of a job of 170 bytes as clients write them, of
 * a large one, and one rewrite after a failure. Prints the median of some rounds in ns per
 * operation, and for the large one GB/s. One thread; no Redis, no runtime. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs/job.h"
#include "jobs/retry.h"

#define ROUNDS 9

static const char small_job[] =
    "{\"class\":\"Noop\",\"args\":[\"0123456789\",42],\"jid\":\"0123456789abcdef01234567\","
    "\"queue\":\"default\",\"retry\":true,\"created_at\":1795196280.022185,"
    "\"enqueued_at\":1795196280.022201,\"tag\":1}";

static const struct ftl__job_limits limits = {.max_bytes = 16 << 20, .max_depth = 64};

static int64_t now_ns(void)
{
    struct timespec ts;
    if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0)
        abort();
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct text {
    const char *bytes;
    size_t size;
};

static void scan(const struct text *text)
{
    struct ftl__job job;
    struct ftl__job_error error;
    if (ftl__job_scan(text->bytes, text->size, &limits, &job, &error) != 0)
        abort();
    __asm__ volatile("" : : "r"(&job) : "memory"); /* the result is used */
}

static void fail(const struct text *text)
{
    struct ftl__job job;
    struct ftl__job_error error;
    struct ftl__failure failure = {
        .error_class = "Failed", .error_message = "it did not work out", .message_size = 19};
    struct ftl__retry_input input = {.now = 1795196281.5, .random = 42, .queue = "default"};
    struct ftl__retry_result result;
    if (ftl__job_scan(text->bytes, text->size, &limits, &job, &error) != 0 ||
        ftl__retry_failed(&job, &failure, &input, &result) != 0)
        abort();
    free(result.bytes);
}

/* The median in ns per call. */
static double measure(void (*fn)(const struct text *), const struct text *text, int calls)
{
    double results[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = now_ns();
        for (int i = 0; i < calls; i++)
            fn(text);
        results[round] = (double)(now_ns() - start) / calls;
    }
    qsort(results, ROUNDS, sizeof(results[0]), compare);
    return results[ROUNDS / 2];
}

/* {"class":"Big","args":["xxx…"]} */
static char *make_large(size_t size)
{
    static const char head[] = "{\"class\":\"Big\",\"args\":[\"", tail[] = "\"]}";
    char *bytes = malloc(size);
    if (bytes == NULL)
        abort();
    memset(bytes, 'x', size);
    memcpy(bytes, head, sizeof(head) - 1);
    memcpy(bytes + size - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
    return bytes;
}

int main(void)
{
    struct text small = {small_job, sizeof(small_job) - 1};
    struct text large = {make_large(1 << 20), 1 << 20};
    double scan_large = measure(scan, &large, 200);

    printf("scan %zu B: %.1f ns\n", small.size, measure(scan, &small, 200000));
    printf("scan 1 MiB: %.0f ns, %.2f GB/s\n", scan_large, (double)large.size / scan_large);
    printf("scan and failure: %.1f ns\n", measure(fail, &small, 20000));
    return 0;
}
