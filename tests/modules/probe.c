/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A module for tests and benches: its jobs leave an effect outside fettle, in the file that
 * $FTL_PROBE names, which the test has made, sized and mapped as well. A page of counters comes
 * first, then 64-bit cells up to the end of the file. Nothing is logged and nothing is freed: the
 * mapping lives as long as the process. All of it is atomic, since runs are parallel.
 *
 *     Count [i]           cell i is raised by one, and so is the number of runs
 *     Tally [i, slot]     the same, and the number of those done in `slot`
 *     Linger [i, s]       waits s seconds, then does as Count; with a third argument it is among those
 *                         started in that slot
 *     Late [i, s]         the same
 *     Order [i]           cell i becomes the number of the run, from 1
 *     Stamp [i]           cell i becomes the monotonic time of the run's first instruction
 *     Hold [slot, s]      waits s seconds and counts in `slot` how many do so at once
 *     Steps [i, n]        cell i is raised n times, with a yield between each
 *     Insist [i, s]       waits s seconds in all, whoever asks it to end, then raises cell i by one
 *     Heed [i, s]         waits to be told that its time is over, then s seconds; raises cell i, fails
 *     Swamp [n]           spawns n tasks that keep a worker each
 *     Panics [i]          raises cell i by one, then panics
 *     Spins [i, s]        raises cell i by one, then computes for s seconds, without a yield
 *     Blocks [i, s]       the same, asleep in the kernel
 *     Chatter [i, n]      raises cell i by one, then logs n bytes in lines
 *     Forgets [i]         raises cell i by one, forks a child that waits for ever, and forgets it
 *     Kill [i]            cell i is raised by one, then the process is killed
 *     Later [s]           says: again in s seconds
 *     Never [message]     says: never again */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <fettle/module.h>

enum { PAGE = 4096, SLOTS = 16 };

struct slot {
    _Atomic int64_t running, most, started, done;
};

struct probe {
    struct slot slots[SLOTS];
    _Atomic int64_t order, runs;
};

static struct probe *probe;
static _Atomic int64_t *cells;
static size_t cell_count;

__attribute__((constructor)) static void map_probe(void)
{
    const char *path = getenv("FTL_PROBE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct stat status;
    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && status.st_size >= PAGE) {
        void *map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) {
            probe = map;
            cells = (_Atomic int64_t *)(void *)((char *)map + PAGE);
            cell_count = ((size_t)status.st_size - PAGE) / sizeof *cells;
        }
    }
    (void)close(fd);
}

/* The number at `index` of the args; a run without it, or without a probe, is the test's mistake. */
static double number(struct ftl_run *run, size_t index)
{
    const json_t *value = json_array_get(ftl_run_args(run), index);
    ftl_assert(probe != NULL);
    ftl_assert(json_is_number(value));
    return json_number_value(value);
}

static _Atomic int64_t *cell(struct ftl_run *run)
{
    size_t index = (size_t)number(run, 0);
    ftl_assert(index < cell_count);
    return &cells[index];
}

static void raise_cell(_Atomic int64_t *counter)
{
    atomic_fetch_add(counter, 1);
    atomic_fetch_add(&probe->runs, 1);
}

static int count(struct ftl_run *run)
{
    raise_cell(cell(run));
    return 0;
}

static struct slot *slot(struct ftl_run *run, size_t index)
{
    size_t number_of_slot = (size_t)number(run, index);
    ftl_assert(number_of_slot < SLOTS);
    return &probe->slots[number_of_slot];
}

static int tally(struct ftl_run *run)
{
    atomic_fetch_add(&slot(run, 1)->done, 1);
    return count(run);
}

static int linger(struct ftl_run *run)
{
    _Atomic int64_t *counter = cell(run);
    if (json_array_size(ftl_run_args(run)) > 2)
        atomic_fetch_add(&slot(run, 2)->started, 1);
    int status = ftl_sleep((int64_t)(number(run, 1) * (double)FTL_S));
    if (status == 0)
        raise_cell(counter);
    return status;
}

static int order(struct ftl_run *run)
{
    atomic_store(cell(run), atomic_fetch_add(&probe->order, 1) + 1);
    return 0;
}

static int stamp(struct ftl_run *run)
{
    int64_t now = ftl_now();
    atomic_store(cell(run), now);
    return 0;
}

static void leave(void *arg)
{
    struct slot *slot = arg;
    atomic_fetch_sub(&slot->running, 1);
}

static int hold(struct ftl_run *run)
{
    struct slot *held = slot(run, 0);
    double seconds = number(run, 1);
    atomic_fetch_add(&held->started, 1);
    int64_t now = atomic_fetch_add(&held->running, 1) + 1;
    FTL_DEFER(leave, held);
    int64_t most = atomic_load(&held->most);
    while (now > most && !atomic_compare_exchange_weak(&held->most, &most, now))
        ;
    int status = ftl_sleep((int64_t)(seconds * (double)FTL_S));
    if (status == 0)
        atomic_fetch_add(&held->done, 1);
    return status;
}

static int steps(struct ftl_run *run)
{
    _Atomic int64_t *counter = cell(run);
    int64_t rounds = (int64_t)number(run, 1);
    for (int64_t i = 0; i < rounds; i++) {
        atomic_fetch_add(counter, 1);
        int status = ftl_yield();
        if (status != 0)
            return status;
    }
    return 0;
}

static int insist(struct ftl_run *run)
{
    _Atomic int64_t *counter = cell(run);
    int64_t until = ftl_deadline((int64_t)(number(run, 1) * (double)FTL_S));
    while (ftl_now() < until)
        (void)ftl_sleep(FTL_MS);
    atomic_fetch_add(counter, 1);
    return 0;
}

static int panics(struct ftl_run *run)
{
    atomic_fetch_add(cell(run), 1);
    ftl_panic("as told");
}

static int spins(struct ftl_run *run)
{
    atomic_fetch_add(cell(run), 1);
    int64_t until = ftl_deadline((int64_t)(number(run, 1) * (double)FTL_S));
    while (ftl_now() < until)
        ;
    return 0;
}

static int blocks(struct ftl_run *run)
{
    atomic_fetch_add(cell(run), 1);
    int64_t until = ftl_deadline((int64_t)(number(run, 1) * (double)FTL_S));
    while (ftl_now() < until)
        (void)usleep((useconds_t)((until - ftl_now()) / 1000 + 1));
    return 0;
}

static int chatter(struct ftl_run *run)
{
    atomic_fetch_add(cell(run), 1);
    for (int64_t left = (int64_t)number(run, 1); left > 0; left -= 100)
        ftl_run_log(run, "%0100d", 0);
    return 0;
}

static int forget(struct ftl_run *run)
{
    pid_t pid;
    atomic_fetch_add(cell(run), 1);
    pid = fork();
    if (pid == 0) {
        alarm(600); /* for ever, where nobody ends it */
        pause();
        _exit(0);
    }
    return pid > 0 ? 0 : ftl_run_fail(run, "ForkError", "no child");
}

static int kill_process(struct ftl_run *run)
{
    atomic_fetch_add(cell(run), 1);
    return kill(getpid(), SIGKILL);
}

/* Waits to be told that its time is over, and takes so many seconds for its answer. */
static int heed(struct ftl_run *run)
{
    _Atomic int64_t *counter = cell(run);
    ftl_assert(ftl_sleep(3600 * FTL_S) == FTL_ECANCELED);
    ftl_heed();
    ftl_assert(ftl_sleep((int64_t)(number(run, 1) * (double)FTL_S)) == 0);
    atomic_fetch_add(counter, 1);
    return ftl_run_fail(run, "ProbeError", "saved half of it");
}

static void *block(void *arg)
{
    struct timespec left = {.tv_sec = 300};
    while (nanosleep(&left, &left) != 0)
        ;
    return arg;
}

/* So many tasks that keep their workers. */
static int swamp(struct ftl_run *run)
{
    for (int left = (int)number(run, 0); left > 0; left--)
        if (ftl_spawn(ftl_runtime_current(), block, NULL, NULL, NULL) != 0)
            return ftl_run_fail(run, "ProbeError", "cannot spawn");
    return 0;
}

static int later(struct ftl_run *run)
{
    return ftl_run_later(run, number(run, 0));
}

static int never(struct ftl_run *run)
{
    const char *text = json_string_value(json_array_get(ftl_run_args(run), 0));
    return ftl_run_fail_forever(run, "ProbeError", "%s", text != NULL ? text : "never");
}

FTL_MODULE("probe", {"Count", count}, {"Tally", tally}, {"Linger", linger}, {"Order", order},
           {"Stamp", stamp}, {"Hold", hold}, {"Kill", kill_process}, {"Steps", steps}, {"Heed", heed},
           {"Swamp", swamp}, {"Later", later}, {"Never", never}, {"Insist", insist},
           {"Panics", panics}, {"Spins", spins}, {"Blocks", blocks}, {"Chatter", chatter},
           {"Late", linger}, {"Forgets", forget});
