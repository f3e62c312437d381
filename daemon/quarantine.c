/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A list of classes, which are few: they come from tables of modules. What happens here holds
 * at once, whether Redis can be told or not; a task, which sleeps until there is something to tell,
 * tells it (mark.lua), and tries again at the next tick. What others have told comes with the ticks.
 *
 * A mark ends by Redis' clock, its time counted from the last crash of the class, in a task or in a
 * child: so a class that goes on crashing stays out, and one that was mended comes back. Since a class
 * in children may crash a thousand times a minute, only a sixteenth of a ttl is worth a renewal. A mark that
 * was seen in Redis and is not there any more was taken away by somebody.
 *
 * A process that begins anew after a crash may be unable to ask Redis: what it knew stands in its
 * environment then, a line for each class. */
#include "daemon/quarantine.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/part.h"
#include "jobs/run.h"
#include "runtime/list.h"

#define STATE "FETTLE_QUARANTINE"
#define CARRIED_MAX 65536 /* bytes of that */
#define NAME_PREFIX "class:"
#define TOLD_AT_ONCE 100 /* classes */
#define CALL_TIMEOUT (5 * FTL_S)
#define CLASSES_MAX 4000 /* as of mark.lua */

struct entry {
    struct ftl__list link;
    double until;  /* epoch seconds of Redis' clock */
    bool untold;   /* Redis has not heard of it, or not of this end */
    bool seen;     /* it was in the marks of Redis */
    bool asked;    /* scratch: it is in the call that is on its way */
    char class[];
};

struct ftl__quarantine {
    struct ftl__quarantine_options options;
    struct ftl__list entries;
    size_t count;
    struct ftl_notify *wake;
    struct ftl_task *teller;
    struct ftl__invoke invoke;
};

#define ENTRY(node) ftl__container(node, struct entry, link)

static double now_of(const struct ftl__quarantine *quarantine)
{
    return ftl__clock_epoch(quarantine->options.clock, ftl_now());
}

/* ---- the list ---------------------------------------------------------------------------- */

static struct entry *find(struct ftl__quarantine *quarantine, const char *class, size_t size)
{
    struct ftl__list *head = &quarantine->entries;

    for (struct ftl__list *node = head->next; node != head; node = node->next)
        if (strlen(ENTRY(node)->class) == size && memcmp(ENTRY(node)->class, class, size) == 0)
            return ENTRY(node);
    return NULL;
}

/* NULL: out of memory, or no class that a handler could have. */
static struct entry *add(struct ftl__quarantine *quarantine, const char *class, size_t size,
                         double until)
{
    struct entry *entry;

    if (size == 0 || size > FTL__CLASS_MAX || memchr(class, '\0', size) != NULL ||
        quarantine->count >= CLASSES_MAX)
        return NULL;
    entry = calloc(1, sizeof *entry + size + 1);
    if (entry == NULL)
        return NULL;
    memcpy(entry->class, class, size);
    entry->until = until;
    ftl__list_push_back(&quarantine->entries, &entry->link);
    quarantine->count++;
    return entry;
}

static void drop(struct ftl__quarantine *quarantine, struct entry *entry)
{
    ftl__list_unlink(&entry->link);
    quarantine->count--;
    free(entry);
}

static bool isolate(const struct ftl__quarantine *quarantine, const struct entry *entry,
                    const char *reason)
{
    bool news = quarantine->options.isolate(quarantine->options.arg, entry->class, true);

    if (news)
        ftl__log(FTL__EV_CLASS_ISOLATED, FTL__STR("class", entry->class),
                 FTL__STR("reason", reason),
                 FTL__REAL("seconds", entry->until - now_of(quarantine)));
    return news;
}

static void release(struct ftl__quarantine *quarantine, struct entry *entry, const char *reason)
{
    if (quarantine->options.isolate(quarantine->options.arg, entry->class, false))
        ftl__log(FTL__EV_CLASS_RELEASED, FTL__STR("class", entry->class),
                 FTL__STR("reason", reason));
    drop(quarantine, entry);
}

/* ---- what happens here ------------------------------------------------------------------- */

/* A class that no handler here would move is nobody's business. */
void ftl__quarantine_add(struct ftl__quarantine *quarantine, const char *class,
                         const char *reason)
{
    double ttl = quarantine->options.ttl, until = now_of(quarantine) + ttl;
    struct entry *entry = find(quarantine, class, strlen(class));

    if (entry == NULL) {
        entry = add(quarantine, class, strlen(class), until);
        if (entry == NULL)
            return;
        if (!isolate(quarantine, entry, reason)) {
            drop(quarantine, entry);
            return;
        }
    } else {
        (void)isolate(quarantine, entry, reason); /* if it could not be so far */
        if (entry->until > until - ttl / 16)
            return;
    }
    entry->until = until;
    entry->untold = true;
    entry->asked = false;
    ftl_notify_one(quarantine->wake);
}

void ftl__quarantine_look(struct ftl__quarantine *quarantine)
{
    struct ftl__list *head = &quarantine->entries, *node = head->next;
    double now = now_of(quarantine);
    bool untold = false;

    while (node != head) {
        struct entry *entry = ENTRY(node);
        node = node->next;
        untold |= entry->untold;
        if (entry->until <= now)
            release(quarantine, entry, "its time is over");
        else
            (void)isolate(quarantine, entry, "known before");
    }
    if (untold)
        ftl_notify_one(quarantine->wake);
}

void ftl__quarantine_apply(struct ftl__quarantine *quarantine)
{
    struct ftl__list *head = &quarantine->entries;
    double now = now_of(quarantine);

    for (struct ftl__list *node = head->next; node != head; node = node->next)
        if (ENTRY(node)->until > now) /* the others are released at the next look */
            (void)isolate(quarantine, ENTRY(node), "known before");
}

void ftl__quarantine_set_ttl(struct ftl__quarantine *quarantine, double seconds)
{
    quarantine->options.ttl = seconds;
}

/* ---- what others have told --------------------------------------------------------------- */

static void take_mark(struct ftl__quarantine *quarantine, const struct ftl__mark *mark)
{
    const size_t prefix = sizeof NAME_PREFIX - 1;
    struct entry *entry;

    if (mark->size <= prefix || memcmp(mark->name, NAME_PREFIX, prefix) != 0 ||
        mark->until <= now_of(quarantine))
        return;
    entry = find(quarantine, mark->name + prefix, mark->size - prefix);
    if (entry == NULL) {
        entry = add(quarantine, mark->name + prefix, mark->size - prefix, mark->until);
        if (entry == NULL)
            return;
        (void)isolate(quarantine, entry, "another daemon");
    }
    entry->seen = true;
    if (mark->until > entry->until)
        entry->until = mark->until;
}

static bool is_marked(const struct ftl__quarantine *quarantine, const struct entry *entry)
{
    char name[sizeof NAME_PREFIX + FTL__CLASS_MAX];
    int size = snprintf(name, sizeof name, NAME_PREFIX "%s", entry->class);

    return ftl__marks_find(quarantine->options.marks, name, (size_t)size) != NULL;
}

void ftl__quarantine_marked(struct ftl__quarantine *quarantine)
{
    const struct ftl__marks *marks = quarantine->options.marks;
    struct ftl__list *head = &quarantine->entries, *node = head->next;

    while (node != head) {
        struct entry *entry = ENTRY(node);
        node = node->next;
        if (entry->seen && !entry->untold && !is_marked(quarantine, entry))
            release(quarantine, entry, "its mark is gone");
    }
    for (size_t i = 0; i < marks->count; i++)
        take_mark(quarantine, &marks->all[i]);
}

/* ---- telling ----------------------------------------------------------------------------- */

static void build(struct ftl__quarantine *quarantine)
{
    struct ftl__list *head = &quarantine->entries;
    struct ftl__invoke *invoke = &quarantine->invoke;
    unsigned count = 0;

    ftl__invoke_start(invoke, FTL__SCRIPT_MARK);
    ftl__invoke_key(invoke, &quarantine->options.keys->faulted);
    ftl__invoke_time(invoke, quarantine->options.ttl);
    for (struct ftl__list *node = head->next; node != head; node = node->next) {
        struct entry *entry = ENTRY(node);
        char name[sizeof NAME_PREFIX + FTL__CLASS_MAX];
        entry->asked = entry->untold && count < TOLD_AT_ONCE;
        if (!entry->asked)
            continue;
        count++;
        snprintf(name, sizeof name, NAME_PREFIX "%s", entry->class);
        ftl__invoke_text(invoke, name);
    }
}

static bool is_any_untold(const struct ftl__quarantine *quarantine)
{
    const struct ftl__list *head = &quarantine->entries;

    for (struct ftl__list *node = head->next; node != head; node = node->next)
        if (ENTRY(node)->untold)
            return true;
    return false;
}

/* The list may be another one when the answer comes. */
static int tell(struct ftl__quarantine *quarantine)
{
    const struct ftl__quarantine_options *options = &quarantine->options;
    struct ftl__list *head = &quarantine->entries;
    struct redisReply *reply;
    int code;

    build(quarantine);
    code = ftl__invoke_run(&quarantine->invoke, options->scripts, options->link,
                           ftl_deadline(CALL_TIMEOUT), &reply);
    if (code != 0)
        return code;
    code = ftl__reply_check(reply, REDIS_REPLY_STRING, "mark");
    ftl__reply_free(reply);
    for (struct ftl__list *node = head->next; node != head && code == 0; node = node->next)
        ENTRY(node)->untold &= !ENTRY(node)->asked;
    return code;
}

static void *teller_main(void *arg)
{
    struct ftl__quarantine *quarantine = arg;

    while (ftl_notify_wait(quarantine->wake, FTL_FOREVER) != FTL_ECANCELED) {
        int code = 0;
        while (code == 0 && is_any_untold(quarantine))
            code = tell(quarantine);
        if (code == FTL_ECANCELED)
            break;
    }
    return NULL;
}

/* ---- from one program to the next -------------------------------------------------------- */

void ftl__quarantine_leave(const struct ftl__quarantine *quarantine)
{
    const struct ftl__list *head = &quarantine->entries;
    static char text[CARRIED_MAX];
    size_t used = 0;

    for (struct ftl__list *node = head->next; node != head; node = node->next) {
        const struct entry *entry = ENTRY(node);
        if (strchr(entry->class, '\n') != NULL ||
            sizeof text - used < strlen(entry->class) + 64)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%d %.3f %s\n", entry->untold,
                                 entry->until, entry->class);
    }
    if (used > 0)
        (void)setenv(STATE, text, 1);
}

static void take_over(struct ftl__quarantine *quarantine)
{
    const char *line = getenv(STATE);

    while (line != NULL && *line != '\0') {
        size_t size = strcspn(line, "\n");
        int untold, at = 0;
        double until;

        if (sscanf(line, "%d %lf %n", &untold, &until, &at) == 2 && at > 0 && (size_t)at < size) {
            struct entry *entry = add(quarantine, line + at, size - (size_t)at, until);
            if (entry != NULL)
                entry->untold = untold == 1;
        }
        line += size + (line[size] == '\n');
    }
    unsetenv(STATE);
}

/* ---- life -------------------------------------------------------------------------------- */

int ftl__quarantine_open(const struct ftl__quarantine_options *options,
                         struct ftl__quarantine **ret_quarantine)
{
    struct ftl__quarantine *quarantine = calloc(1, sizeof *quarantine);
    int code;

    if (quarantine == NULL)
        return FTL_ENOMEM;
    quarantine->options = *options;
    ftl__list_init(&quarantine->entries);
    ftl__invoke_init(&quarantine->invoke);
    take_over(quarantine);
    quarantine->wake = ftl_notify_new();
    code = quarantine->wake == NULL
               ? FTL_ENOMEM
               : ftl__part_start(options->runtime, teller_main, quarantine, "quarantine",
                                 &quarantine->teller);
    if (code == 0)
        *ret_quarantine = quarantine;
    else
        ftl__quarantine_close(quarantine);
    return code;
}

void ftl__quarantine_close(struct ftl__quarantine *quarantine)
{
    struct ftl__list *node;

    if (quarantine == NULL)
        return;
    ftl__part_stop(&quarantine->teller, FTL_S);
    while ((node = ftl__list_pop_front(&quarantine->entries)) != NULL)
        free(ENTRY(node));
    ftl__invoke_free(&quarantine->invoke);
    ftl_notify_free(quarantine->wake);
    free(quarantine);
}
