/* SPDX-License-Identifier: MIT
 *
 * DESIGN. How fast a bare hiredis loop claims and acknowledges jobs, for each way of keeping what
 * is in flight (bench/record.c), on a private redis-server: what fettled is measured against, and
 * what its in-flight record was chosen by. The records take turns in each round, so that a change
 * of the machine's mood meets all of them; a figure is the median of the rounds, a line "RECORD
 * BATCH VALUE jobs/s". After each turn it looks whether all jobs have come, and nothing is left in
 * Redis.
 *
 *     bench/ceiling [--records a,b] [--batch N,N] [--jobs N] [--rounds N]
 *     bench/ceiling --print-best BATCH [--jobs N] [--rounds N]    one line: the fastest safe */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/private.h"
#include "bench/record.h"

enum { PAYLOAD = 170, CHUNK = 1000, ROUNDS_MAX = 99, CHOSEN_MAX = 16 };

static struct {
    const struct record *records[CHOSEN_MAX];
    size_t record_count;
    int batches[CHOSEN_MAX];
    size_t batch_count;
    long jobs, rounds;
    bool best;
} option = {.jobs = 300000, .rounds = 5};

static void usage(FILE *out)
{
    fprintf(out, "usage: ceiling [--records NAME,…] [--batch N,…] [--jobs N] [--rounds N]\n"
                 "       ceiling --print-best BATCH [--jobs N] [--rounds N]\n");
    for (size_t i = 0; i < record_count; i++)
        fprintf(out, "  %-12s %s\n", records[i].name, records[i].what);
}

static long positive(const char *text, long most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || (*end != '\0' && *end != ',') || value < 1 || value > most)
        bench_die("%s: not a number from 1 to %ld", text, most);
    return value;
}

static void choose_records(const char *names)
{
    option.record_count = 0;
    for (const char *name = names; name != NULL && option.record_count < CHOSEN_MAX;) {
        size_t size = strcspn(name, ",");
        const struct record *record = record_find(name, size);
        if (record == NULL)
            bench_die("%.*s: no such record", (int)size, name);
        option.records[option.record_count++] = record;
        name = name[size] == ',' ? name + size + 1 : NULL;
    }
}

static void choose_batches(const char *numbers)
{
    option.batch_count = 0;
    for (const char *at = numbers; at != NULL && option.batch_count < CHOSEN_MAX;) {
        option.batches[option.batch_count++] = (int)positive(at, RECORD_BATCH_MAX);
        at = strchr(at, ',');
        at = at != NULL ? at + 1 : NULL;
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"records", required_argument, NULL, 'r'}, {"batch", required_argument, NULL, 'b'},
        {"jobs", required_argument, NULL, 'j'},    {"rounds", required_argument, NULL, 'n'},
        {"print-best", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    const char *names = NULL, *batches = "16,64,1000";
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'r': names = optarg; break;
        case 'b': batches = optarg; break;
        case 'j': option.jobs = positive(optarg, 100000000); break;
        case 'n': option.rounds = positive(optarg, ROUNDS_MAX); break;
        case 'p': option.best = true; batches = optarg; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (optind != argc) {
        usage(stderr);
        exit(2);
    }
    if (names == NULL)
        names = option.best ? "list-bare,list,hash"
                            : "rpop,hash,string,list-bare,list,list-settle,list-single,lmove";
    choose_records(names);
    choose_batches(batches);
}

/* One LPUSH of `count` jobs, the number `first` and those after it. */
static void push(redisContext *context, long first, long count)
{
    static char payload[CHUNK][PAYLOAD + 1];
    static const char *argv[CHUNK + 2] = {"LPUSH", "queue:q"};
    for (long i = 0; i < count; i++) {
        int size = snprintf(payload[i], sizeof payload[i],
                            "{\"class\":\"Noop\",\"args\":[],\"jid\":\"%024lx\",\"retry\":true,"
                            "\"queue\":\"q\",\"created_at\":1795196280.022185}",
                            (unsigned long)(first + i));
        memset(payload[i] + size, ' ', (size_t)(PAYLOAD - size));
        argv[2 + i] = payload[i];
    }
    redisReply *reply = redisCommandArgv(context, (int)count + 2, argv, NULL);
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        bench_die("LPUSH: %s", reply != NULL ? reply->str : context->errstr);
    freeReplyObject(reply);
}

/* Jobs a second. */
static double turn(redisContext *context, const struct record *record, int batch)
{
    for (long i = 0; i < option.jobs; i += CHUNK)
        push(context, i, option.jobs - i < CHUNK ? option.jobs - i : CHUNK);
    int64_t start = bench_now();
    size_t done = record_run(record, context, batch);
    double seconds = (double)(bench_now() - start) / 1e9;
    if (done != (size_t)option.jobs)
        bench_die("%s: %zu jobs instead of %ld", record->name, done, option.jobs);
    /* Only the owner, the last token and the last number may be left. */
    long long left = bench_integer(context, "DBSIZE") -
                     bench_integer(context, "EXISTS fettle:owners fettle:token number");
    if (left != 0)
        bench_die("%s: %lld keys are left", record->name, left);
    return (double)option.jobs / seconds;
}

static double median(double *values, long count)
{
    qsort(values, (size_t)count, sizeof *values, bench_compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void measure(redisContext *context, int batch, double ret_medians[CHOSEN_MAX])
{
    static double values[CHOSEN_MAX][ROUNDS_MAX];
    for (long round = 0; round < option.rounds; round++)
        for (size_t i = 0; i < option.record_count; i++)
            values[i][round] = turn(context, option.records[i], batch);
    for (size_t i = 0; i < option.record_count; i++)
        ret_medians[i] = median(values[i], option.rounds);
}

static void print(const struct record *record, int batch, double value)
{
    printf("%s %d %.0f jobs/s\n", record->name, batch, value);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct bench_private bench;
    double medians[CHOSEN_MAX];
    read_options(argc, argv);
    bench_private_open(&bench);
    record_prepare(bench.context);
    for (size_t b = 0; b < option.batch_count; b++) {
        size_t best = CHOSEN_MAX;
        measure(bench.context, option.batches[b], medians);
        for (size_t i = 0; i < option.record_count; i++) {
            if (!option.best)
                print(option.records[i], option.batches[b], medians[i]);
            if (option.records[i]->safe && (best == CHOSEN_MAX || medians[i] > medians[best]))
                best = i;
        }
        if (option.best && best < CHOSEN_MAX)
            print(option.records[best], option.batches[b], medians[best]);
    }
    redisFree(bench.context);
    return 0;
}
