/* SPDX-License-Identifier: MIT
 *
 * model                    all scenarios, each a test case (TAP)
 * model NAME…              only these
 * model NAME=SCHEDULE      that schedule, with a trace
 * model --weaken LIST WORD…  weakens each memory order in turn (weaken.c)
 * model --noticed LIST WORD…  the same, but those in the list are left out */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/model/explore.h"

static double now(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static bool run(const struct model_scenario *scenario, int number)
{
    unsigned long schedules;
    double begin = now();
    bool ok = model_explore(scenario, 0, &schedules);
    printf("%s %d - %s: %s\n", ok ? "ok" : "not ok", number, scenario->name, scenario->promise);
    printf("# %lu schedules, %d preemptions, %d stale loads, %.1f s\n", schedules,
           scenario->preemptions, scenario->stale, now() - begin);
    if (!ok) {
        char schedule[4096];
        snprintf(schedule, sizeof schedule, "%s", model_schedule());
        printf("# %s\n# again: tests/model/model %s=%s\n", model_failure(), scenario->name,
               schedule);
        model_replay(scenario, schedule);
    }
    fflush(stdout);
    return ok;
}

/* What follows the name: "", "=SCHEDULE", or NULL: not this one. */
static const char *match(const struct model_scenario *scenario, const char *word)
{
    size_t length = strlen(scenario->name);
    if (strncmp(word, scenario->name, length) != 0 || (word[length] && word[length] != '='))
        return NULL;
    return word + length;
}

int main(int argc, char **argv)
{
    int number = 0, failures = 0;
    if (argc > 2 && strcmp(argv[1], "--weaken") == 0)
        return model_weaken(argv[2], false, argv + 3);
    if (argc > 2 && strcmp(argv[1], "--noticed") == 0)
        return model_weaken(argv[2], true, argv + 3);
    for (int i = 0; model_scenarios[i]; i++) {
        bool wanted = argc == 1;
        for (int j = 1; j < argc; j++) {
            const char *rest = match(model_scenarios[i], argv[j]);
            if (rest && *rest)
                return model_replay(model_scenarios[i], rest + 1) ? 0 : 1;
            wanted = wanted || rest;
        }
        if (wanted)
            failures += !run(model_scenarios[i], ++number);
    }
    printf("1..%d\n", number);
    return failures > 0;
}
