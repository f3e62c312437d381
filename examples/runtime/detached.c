/* SPDX-License-Identifier: MIT
 *
 * A detached task: it outlives its creator, and owns what it was given.
 *
 * To see: the creator is joined first; the detached task runs on, its argument is freed once, by the
 * task's own destructor, and its value goes to value_free since nobody joins it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>

static struct ftl_oneshot creator_has_ended, value_was_freed;

struct letter {
    char text[32];
};

static void burn_letter(void *arg)
{
    printf("its argument is freed\n");
    free(arg);
}

static void free_reply(void *value)
{
    printf("its value is freed: %s\n", ((struct letter *)value)->text);
    free(value);
    ftl_oneshot_send(&value_was_freed, NULL);
}

static void *answer_later(void *arg)
{
    const struct letter *letter = arg;
    struct letter *reply = malloc(sizeof *reply);
    void *nothing;
    ftl_assert(reply);
    if (ftl_oneshot_recv(&creator_has_ended, FTL_FOREVER, &nothing) != 0)
        return reply;
    printf("the detached task got: %s\n", letter->text);
    strcpy(reply->text, "thanks");
    return reply;
}

static void *create_and_leave(void *arg)
{
    static const struct ftl_spawn_options options = {
        .name = "answer", .arg_free = burn_letter, .value_free = free_reply};
    struct letter *letter = malloc(sizeof *letter);
    ftl_assert(letter);
    strcpy(letter->text, "hello");
    if (ftl_spawn(ftl_runtime_current(), answer_later, letter, &options, NULL) != 0)
        free(letter); /* it was not taken */
    return arg;
}

int main(void)
{
    struct ftl_runtime *runtime;
    struct ftl_task *creator;
    struct ftl_outcome outcome;
    void *nothing;
    ftl_oneshot_init(&creator_has_ended);
    ftl_oneshot_init(&value_was_freed);
    if (ftl_runtime_start(NULL, &runtime) != 0 ||
        ftl_spawn(runtime, create_and_leave, NULL, NULL, &creator) != 0 ||
        ftl_task_join(creator, FTL_FOREVER, &outcome) != 0)
        return 1;
    printf("the creator has ended\n");
    ftl_oneshot_send(&creator_has_ended, NULL);
    /* A shutdown would abort what is left: so the end is waited for. */
    if (ftl_oneshot_recv(&value_was_freed, FTL_FOREVER, &nothing) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return 0;
}
