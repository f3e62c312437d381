/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Benches that count memory: what the process has more of, resident and in page tables, for
 * a million tasks that have started and wait, and for a million that stand in a queue. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <fettle/channel.h>

#include "bench/runtime.h"

/* VmRSS and VmPTE of this process, in bytes. */
static int64_t resident(void)
{
    char line[256];
    int64_t total = 0, kib;
    int found = 0;
    FILE *file = fopen("/proc/self/status", "re");
    bench_must(file ? 0 : FTL_ESYS);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmRSS: %" SCNd64, &kib) != 1 &&
            sscanf(line, "VmPTE: %" SCNd64, &kib) != 1)
            continue;
        total += kib * 1024;
        found++;
    }
    fclose(file);
    bench_must(found == 2 ? 0 : FTL_EPROTO);
    return total;
}

/* ---- started and waiting ------------------------------------------------------------------ */

struct countdown {
    _Atomic uint32_t left;
    struct ftl_oneshot done;
};

static void *sleeper(void *arg)
{
    struct countdown *starts = arg;
    if (atomic_fetch_sub(&starts->left, 1) == 1)
        ftl_oneshot_send(&starts->done, NULL);
    (void)ftl_sleep(3600 * FTL_S); /* the shutdown aborts it */
    return NULL;
}

int64_t bench_sleep_1m(struct ftl_runtime *runtime, uint32_t operations)
{
    struct countdown starts;
    void *value;
    atomic_init(&starts.left, operations);
    ftl_oneshot_init(&starts.done);
    int64_t before = resident();
    for (uint32_t i = 0; i < operations; i++)
        bench_spawn_detached(runtime, sleeper, &starts);
    bench_must(ftl_oneshot_recv(&starts.done, FTL_FOREVER, &value));
    return resident() - before;
}

/* ---- queued ------------------------------------------------------------------------------- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

/* It blocks its worker: one such task on each, and the rest stay in the queues. */
static void *pass_gate(void *arg)
{
    _Atomic uint32_t *left = arg;
    if (pthread_mutex_lock(&gate) != 0 || pthread_mutex_unlock(&gate) != 0)
        abort();
    atomic_fetch_sub(left, 1);
    return NULL;
}

int64_t bench_queued_1m(struct ftl_runtime *runtime, uint32_t operations)
{
    static _Atomic uint32_t left;
    atomic_store(&left, operations);
    int64_t before = resident();
    if (pthread_mutex_lock(&gate) != 0)
        abort();
    for (uint32_t i = 0; i < operations; i++)
        bench_spawn_detached(runtime, pass_gate, &left);
    int64_t bytes = resident() - before;
    if (pthread_mutex_unlock(&gate) != 0)
        abort();
    while (atomic_load(&left) > 0)
        bench_must(ftl_yield());
    return bytes;
}
