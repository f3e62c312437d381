/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The time from LPUSH to the first instruction of the handler in an idle daemon, beside the
 * least that a reliable claim can take: a bare loop of BLMOVE and then one EVALSHA of the claim
 * script, in a process of its own on the same redis-server. Both write the time into cells that are
 * shared with this process (tests/modules/probe.c does so in fettled). LPUSHes come at random gaps,
 * one after the other, in rounds that alternate; this process sleeps while it waits, and looks at the
 * cell afterwards.
 *
 *     bench/latency [--samples N] [--rounds N] [--seed N] */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/private.h"
#include "daemon/scripts.h"

enum { SAMPLES_MAX = 1000000, WARM_UP = 50, GAP_LEAST_US = 1000, GAP_MOST_US = 6000 };

static struct {
    long samples, rounds;
    unsigned seed;
} option = {500, 4, 1};

static long positive(const char *text, long most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > most)
        bench_die("%s: not a number from 1 to %ld", text, most);
    return value;
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {{"samples", required_argument, NULL, 's'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"seed", required_argument, NULL, 'e'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static const char usage[] = "usage: latency [--samples N] [--rounds N] [--seed N]\n";
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 's': option.samples = positive(optarg, 100000); break;
        case 'r': option.rounds = positive(optarg, 100); break;
        case 'e': option.seed = (unsigned)positive(optarg, INT32_MAX); break;
        case 'h': fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
    }
}

/* ---- the bare loop ---------------------------------------------------------------------- */

static const char bare_id[] = "bare:1:000000000000";

static void load(redisContext *context, const char *name, char sha[41])
{
    for (size_t i = 0; i < ftl__script_source_count; i++) {
        const struct ftl__script_source *script = &ftl__script_sources[i];
        if (strcmp(script->name, name) != 0)
            continue;
        redisReply *reply = bench_call(context, "SCRIPT LOAD %b", script->text, script->size);
        snprintf(sha, 41, "%s", reply->str);
        freeReplyObject(reply);
        return;
    }
    bench_die("no script %s", name);
}

/* The claim's one job: its number, which is the only arg. */
static size_t claimed_index(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->elements != 5 || reply->element[1]->element[3]->elements != 1)
        bench_die("the claim gave no job");
    const char *args = strstr(reply->element[1]->element[3]->element[0]->str, "\"args\":[");
    if (args == NULL)
        bench_die("a job without args");
    return (size_t)strtoul(args + strlen("\"args\":["), NULL, 10);
}

static void bare_loop(const struct bench_private *bench, _Atomic int64_t *cells)
{
    char claim[41], ack[41];
    redisContext *context = bench_connect(bench);
    load(context, "claim", claim);
    load(context, "ack", ack);
    for (unsigned long seq = 1;; seq++) {
        freeReplyObject(
            bench_call(context, "BLMOVE queue:bare fettle:front:bare RIGHT LEFT 0"));
        redisReply *reply = bench_call(
            context,
            "EVALSHA %s 9 fettle:token fettle:owners fettle:batches:%s paused fettle:recoveries "
            "queue:bare fettle:front:bare fettle:batch:%s:%lu fettle:cancelled %s 64 8388608 bare %lu "
            "64 0",
            claim, bare_id, bare_id, seq, bare_id, seq);
        int64_t now = bench_now();
        atomic_store(&cells[claimed_index(reply)], now);
        freeReplyObject(reply);
        freeReplyObject(bench_call(context,
                                   "EVALSHA %s 3 fettle:owners fettle:batches:%s "
                                   "fettle:batch:%s:%lu %s %lu",
                                   ack, bare_id, bare_id, seq, bare_id, seq));
    }
}

static pid_t start_bare(struct bench_private *bench, _Atomic int64_t *cells)
{
    /* An owner that nobody fences: its format is none that fettled knows. */
    bench_integer(bench->context, "HSET fettle:owners %s bare", bare_id);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(126);
    bare_loop(bench, cells);
    _exit(0);
}

/* ---- measuring -------------------------------------------------------------------------- */

static void start_fettled(struct bench_private *bench)
{
    char config[2048], modules[512];
    if (getenv("TEST_MODULES_DIR") != NULL)
        snprintf(modules, sizeof modules, "%s", getenv("TEST_MODULES_DIR"));
    else
        bench_build_path(modules, sizeof modules, "tests/modules");
    snprintf(config, sizeof config,
             "redis = { url = \"unix://%s\"; };\n"
             "queues = ( { name = \"default\"; } );\n"
             "module_path = [ \"%s\" ];\n"
             "handlers = ( { class = \"Stamp\"; module = \"probe\"; } );\n"
             "log = { level = \"info\"; format = \"logfmt\"; jobs = \"failures\"; };\n",
             bench->socket, modules);
    bench_private_fettled(bench, config);
}

static int64_t gap(void)
{
    return (GAP_LEAST_US + rand_r(&option.seed) % (GAP_MOST_US - GAP_LEAST_US)) * INT64_C(1000);
}

/* One job to `queue`: microseconds until its cell was written. */
static double sample(const struct bench_private *bench, const char *queue,
                     const _Atomic int64_t *cells, size_t index)
{
    bench_sleep(gap());
    int64_t start = bench_now();
    bench_integer(bench->context, "LPUSH queue:%s {\"class\":\"Stamp\",\"args\":[%lu]}", queue,
                  (unsigned long)index);
    int64_t limit = start + INT64_C(5000000000), end;
    do {
        bench_sleep(1000000);
        end = atomic_load(&cells[index]);
        if (end == 0 && bench_now() > limit)
            bench_die("a job in queue %s was not run within 5 s", queue);
    } while (end == 0);
    return (double)(end - start) / 1e3;
}

struct figures {
    double p50, p99;
};

static struct figures figures(double *values, size_t count)
{
    qsort(values, count, sizeof *values, bench_compare_doubles);
    return (struct figures){values[count / 2], values[count * 99 / 100]};
}

int main(int argc, char **argv)
{
    static struct bench_private bench;
    read_options(argc, argv);
    size_t total = (size_t)(option.samples * option.rounds), next = 0;
    if (total > SAMPLES_MAX)
        bench_die("at most %d samples in all", (int)SAMPLES_MAX);
    double *bare = calloc(total, sizeof *bare), *fettled = calloc(total, sizeof *fettled);
    if (bare == NULL || fettled == NULL)
        bench_die("out of memory");
    printf("# seed %u\n", option.seed);
    bench_private_open(&bench);
    _Atomic int64_t *cells = bench_probe(&bench, 2 * total + 2 * WARM_UP);
    start_fettled(&bench);
    pid_t loop = start_bare(&bench, cells);
    for (int i = 0; i < WARM_UP; i++) {
        (void)sample(&bench, "bare", cells, next++);
        (void)sample(&bench, "default", cells, next++);
    }
    for (long round = 0; round < option.rounds; round++) {
        size_t first = (size_t)(round * option.samples);
        for (size_t i = first; i < first + (size_t)option.samples; i++)
            bare[i] = sample(&bench, "bare", cells, next++);
        for (size_t i = first; i < first + (size_t)option.samples; i++)
            fettled[i] = sample(&bench, "default", cells, next++);
    }
    (void)kill(loop, SIGKILL);
    (void)waitpid(loop, NULL, 0);
    struct figures floor = figures(bare, total), ours = figures(fettled, total);
    printf("bare    p50 %.1f us, p99 %.1f us (BLMOVE, then one claim)\n", floor.p50, floor.p99);
    printf("fettled p50 %.1f us, p99 %.1f us (%zu samples each)\n", ours.p50, ours.p99, total);
    printf("ratio   p50 %.2f, p99 %.2f\n", ours.p50 / floor.p50, ours.p99 / floor.p99);
    free(bare), free(fettled);
    return 0;
}
