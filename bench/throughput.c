/* SPDX-License-Identifier: MIT
 *
 * DESIGN. How many no-op jobs a second fettled claims, runs and settles, beside bench/ceiling (a bare
 * hiredis loop that claims and acknowledges as many at once, in the same run on the same machine).
 * Each round fills a queue of a private redis-server while it is paused, lets fettled at it, and takes
 * the time from the first job that is claimed to the last that is settled, looking every
 * two milliseconds. The ceiling's round comes before it, while fettled waits. The figures are medians.
 *
 *     bench/throughput [--jobs N] [--rounds N] [--concurrency N] [--class NAME] [--without-ceiling] */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/private.h"

enum { PAYLOAD = 170, CHUNK = 1000, ROUNDS_MAX = 99, ROUND_SECONDS = 120,
       LOOK_EVERY_NS = 2000000 };

static struct {
    long jobs, rounds, concurrency;
    const char *class;
    int without_ceiling;
} option = {300000, 5, 1000, "Noop", 0};

static void usage(FILE *out)
{
    fprintf(out, "usage: throughput [--jobs N] [--rounds N] [--concurrency N] [--class NAME] "
                 "[--without-ceiling]\n");
}

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
    static const struct option options[] = {
        {"jobs", required_argument, NULL, 'j'},        {"rounds", required_argument, NULL, 'r'},
        {"concurrency", required_argument, NULL, 'c'}, {"class", required_argument, NULL, 'k'},
        {"without-ceiling", no_argument, NULL, 'w'},   {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'j': option.jobs = positive(optarg, 100000000); break;
        case 'r': option.rounds = positive(optarg, ROUNDS_MAX); break;
        case 'c': option.concurrency = positive(optarg, 100000); break;
        case 'k': option.class = optarg; break;
        case 'w': option.without_ceiling = 1; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
}

static void start_fettled(struct bench_private *bench)
{
    char config[2048], modules[512];
    if (getenv("MODULES_DIR") != NULL)
        snprintf(modules, sizeof modules, "%s", getenv("MODULES_DIR"));
    else
        bench_build_path(modules, sizeof modules, "modules");
    snprintf(config, sizeof config,
             "redis = { url = \"unix://%s\"; };\n"
             "concurrency = %ld;\n"
             "queues = ( { name = \"default\"; } );\n"
             "module_path = [ \"%s\" ];\n"
             "handlers = ( { class = \"%s\"; module = \"hello\"; } );\n"
             "log = { level = \"info\"; format = \"logfmt\"; jobs = \"failures\"; };\n",
             bench->socket, option.concurrency, modules, option.class);
    bench_private_fettled(bench, config);
}

/* N jobs of PAYLOAD bytes, oldest first, while the queue is paused. */
static void fill(struct bench_private *bench)
{
    char payload[PAYLOAD + 64];
    bench_integer(bench->context, "SADD paused default");
    for (long i = 0; i < option.jobs;) {
        long count = option.jobs - i < CHUNK ? option.jobs - i : CHUNK;
        for (long j = 0; j < count; j++, i++) {
            int size = snprintf(payload, sizeof payload,
                                "{\"class\":\"%s\",\"args\":[],\"jid\":\"%024lx\",\"retry\":true,"
                                "\"queue\":\"default\",\"created_at\":1795196280.022185,"
                                "\"enqueued_at\":1795196280.022185}",
                                option.class, (unsigned long)i);
            /* Space before the closing brace makes it PAYLOAD bytes. */
            for (; size < PAYLOAD; size++) {
                payload[size] = '}';
                payload[size - 1] = ' ';
            }
            if (redisAppendCommand(bench->context, "LPUSH queue:default %b", payload,
                                   (size_t)size) != REDIS_OK)
                bench_die("redis: %s", bench->context->errstr);
        }
        for (long j = 0; j < count; j++) {
            redisReply *reply = NULL;
            if (redisGetReply(bench->context, (void **)&reply) != REDIS_OK ||
                reply->type != REDIS_REPLY_INTEGER)
                bench_die("LPUSH failed");
            freeReplyObject(reply);
        }
    }
}

/* What is not settled: *ret_waiting jobs in the queue or at its front, and the batches of fettled.
 * One round trip. */
static long long unsettled(struct bench_private *bench, const char *id, long long *ret_waiting)
{
    redisContext *context = bench->context;
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

static void owner(struct bench_private *bench, char *buf, size_t size)
{
    redisReply *reply = bench_call(bench->context, "HKEYS fettle:owners");
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1)
        bench_die("expected one owner in fettle:owners");
    snprintf(buf, size, "%s", reply->element[0]->str);
    freeReplyObject(reply);
}

/* Jobs a second of one round. */
static double round_of_fettled(struct bench_private *bench)
{
    char id[256];
    long long waiting, left;
    fill(bench);
    owner(bench, id, sizeof id);
    bench_integer(bench->context, "SREM paused default");
    int64_t start = bench_now(), limit = start + (int64_t)ROUND_SECONDS * 1000000000;
    while ((left = unsettled(bench, id, &waiting)) > 0) {
        int64_t now = bench_now();
        if (waiting == option.jobs)
            start = now;
        if (now > limit)
            bench_die("%lld jobs are left after %d s", left, (int)ROUND_SECONDS);
        bench_sleep(LOOK_EVERY_NS);
    }
    double seconds = (double)(bench_now() - start) / 1e9;
    long long failed = bench_integer(bench->context, "ZCARD retry") +
                       bench_integer(bench->context, "ZCARD dead");
    if (failed != 0)
        bench_die("%lld jobs failed", failed);
    return (double)option.jobs / seconds;
}

/* Jobs a second of the best record of bench/ceiling at a batch of our concurrency. */
static double round_of_ceiling(char name[32])
{
    char path[512], command[700], line[256] = "";
    double value = 0;
    bench_build_path(path, sizeof path, "bench/ceiling");
    snprintf(command, sizeof command, "'%s' --print-best %ld --jobs %ld --rounds 1", path,
             option.concurrency, option.jobs);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL || fgets(line, sizeof line, pipe) == NULL || pclose(pipe) != 0 ||
        sscanf(line, "%31s %*d %lf", name, &value) != 2 || value <= 0)
        bench_die("%s: no figure: %s", command, line);
    return value;
}

static double median(double *values, long count)
{
    qsort(values, (size_t)count, sizeof *values, bench_compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int main(int argc, char **argv)
{
    static struct bench_private bench;
    double fettled[ROUNDS_MAX], ceiling[ROUNDS_MAX], ratio[ROUNDS_MAX];
    char record[32] = "";
    read_options(argc, argv);
    bench_private_open(&bench);
    start_fettled(&bench);
    for (long i = 0; i < option.rounds; i++) {
        ceiling[i] = option.without_ceiling ? 0 : round_of_ceiling(record);
        fettled[i] = round_of_fettled(&bench);
        ratio[i] = option.without_ceiling ? 0 : fettled[i] / ceiling[i];
        printf("# round %ld: fettled %.0f, ceiling %.0f, ratio %.2f\n", i + 1, fettled[i],
               ceiling[i], ratio[i]);
        fflush(stdout);
    }
    printf("fettled %.0f jobs/s (%ld jobs of %d B, concurrency %ld, median of %ld)\n",
           median(fettled, option.rounds), option.jobs, (int)PAYLOAD, option.concurrency,
           option.rounds);
    if (!option.without_ceiling) {
        printf("ceiling %.0f jobs/s (%s, batch %ld)\n", median(ceiling, option.rounds), record,
               option.concurrency);
        printf("ratio   %.2f\n", median(ratio, option.rounds));
    }
    return 0;
}
