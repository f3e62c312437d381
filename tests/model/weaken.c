/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Are the memory orders needed, and would the scenarios notice? Each order that is written in the
 * runtime's sources, and each that is not written and so is seq_cst, is weakened by one step while
 * all others stay; then the scenarios that come by that place are explored until one fails. What
 * nobody notices must stand in a list, with the reason; what stands there must exist and must not
 * be noticed: the list can neither grow nor rot silently.
 *
 * A place in a header is in many objects: all its copies are weakened together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/explore.h"

enum { PLACES = 1024, SCENARIOS = 64, LISTED = 256, NAME = 200, LOOK = 3000, PATIENCE = 20000 };

/* The files for which there are scenarios. */
static const char *const files[] = {
    "channel.c", "driver.c", "futex.c", "futex.h", "idle.c", "inject.c", "inject.h", "join.c",
    "monitor.c", "notify.c", "oneshot.c", "park.c", "queue.c", "runtime.c", "schedule.c",
    "schedule.h", "semaphore.c", "strand.c", "strands.c", "task.c", "task_set.c", "tcb.c",
    "timer.c", "wait.c", "wait.h", "worker.c", "worker.h", NULL,
};

extern struct model_site *__start_model_sites[], *__stop_model_sites[];

static struct model_site *places[PLACES]; /* one of each */
static bool reached[PLACES][SCENARIOS];
static int place_count;

static struct listed {
    char name[NAME];
    bool met;
} listed[LISTED];
static int listed_count;

static bool only_unlisted; /* leaves out what is listed: to see that nobody notices takes the longest */
static int number, failures;

static const char *base(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

/* ---- places ---- */

static bool same(const struct model_site *a, const struct model_site *b)
{
    return a->line == b->line && strcmp(base(a->file), base(b->file)) == 0 &&
           strcmp(a->operation, b->operation) == 0 && strcmp(a->object, b->object) == 0;
}

static bool is_ours(const struct model_site *site)
{
    if (!strstr(site->file, "runtime/"))
        return false;
    for (int i = 0; files[i]; i++)
        if (strcmp(files[i], base(site->file)) == 0)
            return true;
    return false;
}

/* queue_2.c compiles queue.c once more, with other names: the same places. */
static bool is_second_ring(const struct model_site *site)
{
    size_t length = strlen(site->function);
    return length > 2 && strcmp(site->function + length - 2, "_2") == 0;
}

static void gather(void)
{
    for (struct model_site **site = __start_model_sites; site < __stop_model_sites; site++) {
        bool known = !is_ours(*site) || is_second_ring(*site);
        for (int i = 0; i < place_count && !known; i++)
            known = same(places[i], *site);
        if (!known && place_count < PLACES)
            places[place_count++] = *site;
    }
}

/* Which scenarios come by which places: as their first schedules show. */
static void survey(void)
{
    unsigned long schedules;
    for (int s = 0; model_scenarios[s] && s < SCENARIOS; s++) {
        for (struct model_site **site = __start_model_sites; site < __stop_model_sites; site++)
            (*site)->hits = 0;
        model_explore(model_scenarios[s], LOOK, &schedules);
        for (struct model_site **site = __start_model_sites; site < __stop_model_sites; site++)
            for (int i = 0; i < place_count; i++)
                if ((*site)->hits > 0 && same(places[i], *site))
                    reached[i][s] = true;
    }
}

/* ---- the list ---- */

/* NAME: reason, one a line; "#" begins a comment. */
static void read_list(const char *path)
{
    char line[1024];
    FILE *file = fopen(path, "r");
    if (!file)
        exit(2);
    while (fgets(line, sizeof line, file) && listed_count < LISTED) {
        char *end = strstr(line, ": ");
        if (line[0] == '#' || !end)
            continue;
        *end = '\0';
        snprintf(listed[listed_count++].name, NAME, "%.*s", NAME - 1, line);
    }
    fclose(file);
}

static bool is_listed(const char *name)
{
    for (int i = 0; i < listed_count; i++) {
        if (strcmp(listed[i].name, name) == 0) {
            listed[i].met = true;
            return true;
        }
    }
    return false;
}

/* ---- weakening ---- */

static const char *const order_names[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};

/* The orders one step weaker than this one; up to two. */
static int weaker(const struct model_site *site, memory_order order, memory_order *ret_orders)
{
    bool loads = strcmp(site->operation, "load") == 0,
         stores = strcmp(site->operation, "store") == 0;
    switch (order) {
    case memory_order_seq_cst:
        ret_orders[0] = loads    ? memory_order_acquire
                        : stores ? memory_order_release
                                 : memory_order_acq_rel;
        return 1;
    case memory_order_acq_rel:
        ret_orders[0] = memory_order_acquire;
        ret_orders[1] = memory_order_release;
        return 2;
    case memory_order_acquire:
    case memory_order_release:
        ret_orders[0] = memory_order_relaxed;
        return 1;
    default:
        return 0;
    }
}

static void set_orders(const struct model_site *place, memory_order order, memory_order failure)
{
    for (struct model_site **site = __start_model_sites; site < __stop_model_sites; site++) {
        if (same(place, *site)) {
            (*site)->order = order;
            (*site)->failure = failure;
        }
    }
}

/* The scenario that notices, or NULL. With less patience than where all is well: two preemptions,
 * or a preemption and two stale loads, and the like. */
static const struct model_scenario *noticed(int place, unsigned long *ret_schedules)
{
    for (int s = 0; model_scenarios[s]; s++) {
        struct model_scenario quick = *model_scenarios[s];
        quick.preemptions = quick.preemptions < 2 ? quick.preemptions : 2;
        quick.sum = 3;
        if (reached[place][s] && !model_explore(&quick, PATIENCE, ret_schedules))
            return model_scenarios[s];
    }
    return NULL;
}

static void result(bool ok, const char *name, const char *what, unsigned long schedules)
{
    printf("%s %d - %s: %s", ok ? "ok" : "not ok", ++number, name, what);
    printf(schedules ? " (%lu schedules)\n" : "\n", schedules);
    fflush(stdout);
    failures += !ok;
}

static void try_weaker(int place, memory_order order, memory_order failure, const char *name)
{
    struct model_site saved = *places[place];
    unsigned long schedules = 0;
    char what[NAME];
    bool expected = is_listed(name);
    set_orders(&saved, order, failure);
    const struct model_scenario *by = noticed(place, &schedules);
    set_orders(&saved, saved.order, saved.failure);
    if (by) {
        snprintf(what, sizeof what, "%s notices%s", by->name, expected ? ", but it is listed" : "");
        result(!expected, name, what, schedules);
    } else {
        result(expected, name, expected ? "listed" : "nobody notices", 0);
    }
}

static bool is_wanted(const char *name, char **words)
{
    if (!*words)
        return true;
    for (; *words; words++)
        if (strstr(name, *words))
            return true;
    return false;
}

/* Of several alike in one function the second is "…#2". */
static int ordinal(int place)
{
    int n = 1;
    for (int i = 0; i < place_count; i++)
        n += strcmp(places[i]->function, places[place]->function) == 0 &&
             strcmp(places[i]->operation, places[place]->operation) == 0 &&
             strcmp(places[i]->object, places[place]->object) == 0 &&
             strcmp(base(places[i]->file), base(places[place]->file)) == 0 &&
             places[i]->line < places[place]->line;
    return n;
}

static void weaken(int place, bool on_failure, char **words)
{
    const struct model_site *site = places[place];
    memory_order orders[2], from = on_failure ? site->failure : site->order;
    char name[NAME], mark[16] = "";
    struct model_site as_load = {.operation = "load"};
    int n = weaker(on_failure ? &as_load : site, from, orders), nth = ordinal(place);
    if (nth > 1)
        snprintf(mark, sizeof mark, "#%d", nth);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s %s %s%s %s%s %s>%s", base(site->file), site->function,
                 site->operation, on_failure ? "-failure" : "", site->object, mark,
                 order_names[from], order_names[orders[i]]);
        if (is_wanted(name, words) && !(only_unlisted && is_listed(name)))
            try_weaker(place, on_failure ? site->order : orders[i],
                       on_failure ? orders[i] : site->failure, name);
    }
}

int model_weaken(const char *path, bool leave_listed, char **words)
{
    only_unlisted = leave_listed;
    read_list(path);
    gather();
    survey();
    for (int i = 0; i < place_count; i++) {
        weaken(i, false, words);
        if (strcmp(places[i]->operation, "compare") == 0)
            weaken(i, true, words);
    }
    for (int i = 0; i < listed_count && !*words; i++)
        if (!listed[i].met)
            result(false, listed[i].name, "listed, but there is no such place", 0);
    printf("1..%d\n", number);
    return failures > 0;
}
