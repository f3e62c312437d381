/* SPDX-License-Identifier: MIT
 *
 * DESIGN. How many no-op jobs a second fettled claims, runs and settles. Three ways to look:
 *
 *   - A queue is filled while it is paused, and drained: from the first job that is claimed to the
 *     last that is settled, looking every two milliseconds. Beside it bench/ceiling, a bare hiredis
 *     loop: its best record, at the batch that fettled took on average, and at one of the whole
 *     concurrency, which nobody can take who lets a part run while it claims another.
 *   - With --queued the queue is filled to a depth and held there by a producer, this process: from
 *     then on until all that was taken is settled. How low it has sunk is printed, too.
 *   - With --producer the same at one depth, beside the drain: what a producer at the same time
 *     costs.
 *
 * Every round starts a fettled for each concurrency, so that several take turns. The figures are
 * medians of the rounds; `flat` is the least of a row of figures by the largest: of fettled, and
 * of the ceiling and of the ratio, since a bare loop gains by a larger batch, too. What the threads
 * used per job is printed with each figure: it says where the time goes, and depends less on what
 * else the machine does.
 *
 *     bench/throughput [--jobs N] [--rounds N] [--concurrency N,…] [--queued N,… | --producer]
 *                      [--class NAME] [--without-ceiling] */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/feed.h"
#include "bench/private.h"
#include "bench/usage.h"

enum { ROUNDS_MAX = 99, ROW_MAX = 8, ROUND_SECONDS = 120, CEILING_BATCH_MAX = 4000,
       LOOK_EVERY_NS = 2000000, HOLD_LOOK_NS = 100000, PRODUCER_DEPTH = 10000 };

static struct {
    long jobs, rounds;
    long concurrency[ROW_MAX], queued[ROW_MAX];
    size_t concurrencies, depths;
    const char *class;
    bool without_ceiling, producer;
} option = {.jobs = 300000, .rounds = 5, .concurrency = {1000}, .concurrencies = 1,
            .class = "Noop"};

static struct bench_private bench;

/* One round of one setting: jobs a second, and microseconds per job of each part. */
struct figure {
    double rate, control, workers, redis;
    long batch; /* jobs of a claim, on average; 0: not counted */
    long long least; /* jobs that waited at the worst moment of a queue that is held; -1: is not */
};

/* ---- options --------------------------------------------------------------------------------- */

static void usage(FILE *out)
{
    fprintf(out, "usage: throughput [--jobs N] [--rounds N] [--concurrency N,...]\n"
                 "                  [--queued N,... | --producer] [--class NAME] "
                 "[--without-ceiling]\n");
}

static long positive(const char *text, const char **ret_end, long most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || (*end != '\0' && *end != ',') || value < 1 || value > most)
        bench_die("%s: not a number from 1 to %ld", text, most);
    *ret_end = end;
    return value;
}

static long single(const char *text, long most)
{
    const char *end;
    long value = positive(text, &end, most);
    if (*end != '\0')
        bench_die("%s: one number is expected", text);
    return value;
}

static size_t row(const char *text, long most, long ret_values[ROW_MAX])
{
    size_t count = 0;
    do {
        if (count == ROW_MAX)
            bench_die("%s: more than %d numbers", text, (int)ROW_MAX);
        ret_values[count++] = positive(text, &text, most);
    } while (*text++ == ',');
    return count;
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"jobs", required_argument, NULL, 'j'},        {"rounds", required_argument, NULL, 'r'},
        {"concurrency", required_argument, NULL, 'c'}, {"queued", required_argument, NULL, 'q'},
        {"producer", no_argument, NULL, 'p'},          {"class", required_argument, NULL, 'k'},
        {"without-ceiling", no_argument, NULL, 'w'},   {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'j': option.jobs = single(optarg, 100000000); break;
        case 'r': option.rounds = single(optarg, ROUNDS_MAX); break;
        case 'c': option.concurrencies = row(optarg, 100000, option.concurrency); break;
        case 'q': option.depths = row(optarg, 100000000, option.queued); break;
        case 'p': option.producer = true; break;
        case 'k': option.class = optarg; break;
        case 'w': option.without_ceiling = true; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (optind != argc || (option.producer && option.depths > 0)) {
        usage(stderr);
        exit(2);
    }
}

/* ---- fettled ------------------------------------------------------------------------------- */

static void start_fettled(long concurrency)
{
    char config[2048], modules[512];
    if (getenv("MODULES_DIR") != NULL)
        snprintf(modules, sizeof modules, "%s", getenv("MODULES_DIR"));
    else
        bench_build_path(modules, sizeof modules, "modules");
    snprintf(config, sizeof config,
             "redis = { url = \"unix://%s\"; };\n"
             "concurrency = %ld;\n"
             "workers = 2;\n"
             "queues = ( { name = \"default\"; } );\n"
             "module_path = [ \"%s\" ];\n"
             "handlers = ( { class = \"%s\"; module = \"hello\"; } );\n"
             "log = { level = \"info\"; format = \"logfmt\"; jobs = \"failures\"; };\n",
             bench.socket, concurrency, modules, option.class);
    bench_private_fettled(&bench, config);
}

static void owner(char *buf, size_t size)
{
    redisReply *reply = bench_call(bench.context, "HKEYS fettle:owners");
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1)
        bench_die("expected one owner in fettle:owners");
    snprintf(buf, size, "%s", reply->element[0]->str);
    freeReplyObject(reply);
}

static struct figure used(void)
{
    return (struct figure){.control = (double)usage_of(bench.fettled, "control"),
                           .workers = (double)usage_of(bench.fettled, "jobs"),
                           .redis = (double)usage_of(bench.redis, "redis-server")};
}

static struct figure figure(long long jobs, int64_t ns, struct figure before)
{
    struct figure now = used();
    double per_job = 1e3 * (double)jobs;
    return (struct figure){.rate = (double)jobs / ((double)ns / 1e9),
                           .control = (now.control - before.control) / per_job,
                           .workers = (now.workers - before.workers) / per_job,
                           .redis = (now.redis - before.redis) / per_job};
}

static void check_failures(void)
{
    long long failed = bench_integer(bench.context, "ZCARD retry") +
                       bench_integer(bench.context, "ZCARD dead");
    if (failed != 0)
        bench_die("%lld jobs failed", failed);
}

/* ---- rounds ------------------------------------------------------------------------------- */

/* What is not settled: *ret_waiting jobs in the queue or at its front, and the batches of fettled.
 * One round trip. */
static long long unsettled(const char *id, long long *ret_waiting)
{
    redisContext *context = bench.context;
    long long count[3];
    if (redisAppendCommand(context, "LLEN queue:default") != REDIS_OK ||
        redisAppendCommand(context, "LLEN fettle:front:default") != REDIS_OK ||
        redisAppendCommand(context, "HLEN fettle:batches:%s", id) != REDIS_OK)
        bench_die("redis: %s", context->errstr);
    for (size_t i = 0; i < 3; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(context, (void **)&reply) != REDIS_OK ||
            reply->type != REDIS_REPLY_INTEGER)
            bench_die("LLEN or HLEN failed");
        count[i] = reply->integer;
        freeReplyObject(reply);
    }
    *ret_waiting = count[0] + count[1];
    return *ret_waiting + count[2];
}

/* Batches that were claimed: each is entered by one HSETNX. */
static long long claims(void)
{
    static const char name[] = "cmdstat_hsetnx:calls=";
    redisReply *reply = bench_call(bench.context, "INFO commandstats");
    const char *at = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, name) : NULL;
    long long count = at != NULL ? strtoll(at + sizeof name - 1, NULL, 10) : 0;
    freeReplyObject(reply);
    return count;
}

static struct figure drain(void)
{
    char id[256];
    long long waiting, left;
    bench_integer(bench.context, "SADD paused default");
    feed_push(bench.context, option.jobs);
    owner(id, sizeof id);
    struct figure before = used();
    long long claimed = claims();
    bench_integer(bench.context, "SREM paused default");
    int64_t start = bench_now(), limit = start + (int64_t)ROUND_SECONDS * 1000000000;
    while ((left = unsettled(id, &waiting)) > 0) {
        int64_t now = bench_now();
        if (waiting == option.jobs)
            start = now;
        if (now > limit)
            bench_die("%lld jobs are left after %d s", left, (int)ROUND_SECONDS);
        bench_sleep(LOOK_EVERY_NS);
    }
    struct figure result = figure(option.jobs, bench_now() - start, before);
    claimed = claims() - claimed;
    if (claimed < 1)
        bench_die("no batch was counted");
    result.batch = (long)((option.jobs + claimed / 2) / claimed);
    result.least = -1;
    return result;
}

static struct figure hold(long depth)
{
    int64_t limit = bench_now() + (int64_t)ROUND_SECONDS * 1000000000;
    redisContext *producers[FEED_PRODUCERS];
    char id[256];
    long long least, waiting;
    for (int i = 0; i < FEED_PRODUCERS; i++)
        producers[i] = bench_connect(&bench);
    owner(id, sizeof id);
    bench_integer(bench.context, "SADD paused default");
    feed_push(bench.context, depth);
    bench_integer(bench.context, "SREM paused default");
    while (feed_waiting(bench.context) == depth) {
        if (bench_now() > limit)
            bench_die("nothing was claimed within %d s", (int)ROUND_SECONDS);
        bench_sleep(LOOK_EVERY_NS);
    }
    struct figure before = used();
    int64_t start = bench_now();
    long long taken = feed_hold(producers, depth, option.jobs, &least);
    bench_integer(bench.context, "DEL queue:default fettle:front:default");
    while (unsettled(id, &waiting) > 0) {
        if (bench_now() > limit)
            bench_die("jobs are left after %d s", (int)ROUND_SECONDS);
        bench_sleep(HOLD_LOOK_NS);
    }
    struct figure result = figure(taken, bench_now() - start, before);
    result.least = least;
    for (int i = 0; i < FEED_PRODUCERS; i++)
        redisFree(producers[i]);
    return result;
}

/* Jobs a second of the best record of bench/ceiling. */
static double ceiling(long batch, char name[32])
{
    char path[512], command[700], line[256] = "";
    double value = 0;
    bench_build_path(path, sizeof path, "bench/ceiling");
    snprintf(command, sizeof command, "'%s' --print-best %ld --jobs %ld --rounds 1", path,
             batch, option.jobs);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL || fgets(line, sizeof line, pipe) == NULL || pclose(pipe) != 0 ||
        sscanf(line, "%31s %*d %lf", name, &value) != 2 || value <= 0)
        bench_die("%s: no figure: %s", command, line);
    return value;
}

/* ---- figures ------------------------------------------------------------------------------- */

static double median(double *values, long count)
{
    qsort(values, (size_t)count, sizeof *values, bench_compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static struct figure middle(const struct figure *figures, long count)
{
    double rate[ROUNDS_MAX], control[ROUNDS_MAX], workers[ROUNDS_MAX], redis[ROUNDS_MAX];
    for (long i = 0; i < count; i++) {
        rate[i] = figures[i].rate;
        control[i] = figures[i].control;
        workers[i] = figures[i].workers;
        redis[i] = figures[i].redis;
    }
    return (struct figure){.rate = median(rate, count),
                           .control = median(control, count),
                           .workers = median(workers, count),
                           .redis = median(redis, count)};
}

static void print_round(long round, const char *what, long of, struct figure figure)
{
    printf("# round %ld, %s %ld: %.0f jobs/s; us per job: control %.2f, workers %.2f, redis %.2f",
           round + 1, what, of, figure.rate, figure.control, figure.workers, figure.redis);
    if (figure.batch > 0)
        printf("; batch %ld", figure.batch);
    if (figure.least >= 0)
        printf("; at least %lld waited", figure.least);
    printf("\n");
    fflush(stdout);
}

static void print_middle(const char *what, long of, struct figure figure)
{
    printf("fettled %.0f jobs/s (%s %ld; median of %ld, %ld jobs of %d B; us of processor time per "
           "job: control %.2f, workers %.2f, redis %.2f)\n",
           figure.rate, what, of, option.rounds, option.jobs, (int)FEED_PAYLOAD, figure.control,
           figure.workers, figure.redis);
}

/* The least of a row by the largest. */
static double flatness(const double *values, size_t count)
{
    double least = values[0], largest = values[0];
    for (size_t i = 1; i < count; i++) {
        least = values[i] < least ? values[i] : least;
        largest = values[i] > largest ? values[i] : largest;
    }
    return least / largest;
}

/* ---- what is measured ---------------------------------------------------------------------- */

enum { SAME, WHOLE, LIMITS };
static const char *const limit_names[LIMITS] = {"the same batch", "the whole concurrency"};

struct drained {
    struct figure figure[ROUNDS_MAX];
    double limit[LIMITS][ROUNDS_MAX], ratio[LIMITS][ROUNDS_MAX];
};

static void measure_limits(struct drained *drained, long round, long concurrency)
{
    const struct figure *figure = &drained->figure[round];
    for (int l = 0; l < LIMITS; l++) {
        char record[32] = "";
        long batch = l == SAME ? figure->batch : concurrency;
        if (batch > CEILING_BATCH_MAX)
            batch = CEILING_BATCH_MAX;
        drained->limit[l][round] = ceiling(batch, record);
        drained->ratio[l][round] = figure->rate / drained->limit[l][round];
        printf("#   ceiling %.0f (%s, batch %ld: %s), ratio %.2f\n", drained->limit[l][round],
               record, batch, limit_names[l], drained->ratio[l][round]);
    }
}

static void print_drained(struct drained *drained)
{
    double rate[ROW_MAX], limit[LIMITS][ROW_MAX], ratio[LIMITS][ROW_MAX];
    for (size_t c = 0; c < option.concurrencies; c++) {
        struct figure figure = middle(drained[c].figure, option.rounds);
        rate[c] = figure.rate;
        print_middle("concurrency", option.concurrency[c], figure);
        for (int l = 0; l < LIMITS && !option.without_ceiling; l++) {
            limit[l][c] = median(drained[c].limit[l], option.rounds);
            ratio[l][c] = median(drained[c].ratio[l], option.rounds);
            printf("ceiling %.0f jobs/s, %s\nratio   %.2f\n", limit[l][c], limit_names[l],
                   ratio[l][c]);
        }
    }
    if (option.concurrencies < 2)
        return;
    printf("flat    %.2f\n", flatness(rate, option.concurrencies));
    for (int l = 0; l < LIMITS && !option.without_ceiling; l++)
        printf("flat    %.2f the ceiling, %.2f the ratio, %s\n",
               flatness(limit[l], option.concurrencies), flatness(ratio[l], option.concurrencies),
               limit_names[l]);
}

/* A queue that is drained, at each concurrency, beside the ceiling. */
static void measure_drain(void)
{
    static struct drained drained[ROW_MAX];
    for (long i = 0; i < option.rounds; i++) {
        for (size_t c = 0; c < option.concurrencies; c++) {
            long concurrency = option.concurrency[c];
            start_fettled(concurrency);
            drained[c].figure[i] = drain();
            check_failures();
            bench_private_stop_fettled(&bench);
            print_round(i, "concurrency", concurrency, drained[c].figure[i]);
            if (!option.without_ceiling)
                measure_limits(&drained[c], i, concurrency);
        }
    }
    print_drained(drained);
}

/* A queue that is held at each depth. */
static void measure_depths(void)
{
    static struct figure figures[ROW_MAX][ROUNDS_MAX];
    double rate[ROW_MAX];
    start_fettled(option.concurrency[0]);
    for (long i = 0; i < option.rounds; i++) {
        for (size_t d = 0; d < option.depths; d++) {
            figures[d][i] = hold(option.queued[d]);
            print_round(i, "queued", option.queued[d], figures[d][i]);
        }
    }
    check_failures();
    for (size_t d = 0; d < option.depths; d++) {
        struct figure figure = middle(figures[d], option.rounds);
        rate[d] = figure.rate;
        print_middle("queued", option.queued[d], figure);
    }
    if (option.depths > 1)
        printf("flat    %.2f\n", flatness(rate, option.depths));
}

/* The same jobs from a queue that is full, and from one that a producer keeps filling. */
static void measure_producer(void)
{
    static struct figure without[ROUNDS_MAX], with[ROUNDS_MAX];
    start_fettled(option.concurrency[0]);
    for (long i = 0; i < option.rounds; i++) {
        without[i] = drain();
        print_round(i, "without a producer, concurrency", option.concurrency[0], without[i]);
        with[i] = hold(PRODUCER_DEPTH);
        print_round(i, "with a producer, concurrency", option.concurrency[0], with[i]);
    }
    check_failures();
    print_middle("without a producer, concurrency", option.concurrency[0],
                 middle(without, option.rounds));
    print_middle("with a producer, concurrency", option.concurrency[0],
                 middle(with, option.rounds));
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    feed_prepare(option.class);
    bench_private_open(&bench);
    if (option.producer)
        measure_producer();
    else if (option.depths > 0)
        measure_depths();
    else
        measure_drain();
    return 0;
}
