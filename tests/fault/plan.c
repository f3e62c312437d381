/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A kind is entered when it is first seen, whether a plan is on or not, so that a test can
 * tell which commands the daemon uses. The cursor of a direction moves by one step for each cut,
 * and a message that is shorter than the cursor passes: so a kind is through when its cursor is
 * beyond the largest message of it, or beyond the last offset that is asked for: what is longer,
 * texts of scripts excepted, repeats itself, and nothing would ever come through. */
#include "plan.h"

#include <string.h>

#include "message.h"

#define KINDS_MAX 128
#define ERROR_MAX 128

struct kind {
    char name[KIND_MAX];
    size_t seen;
    size_t next[2], largest[2], passed[2]; /* by direction; passed: uncut, one after the other */
    bool answered;
};

static struct kind kinds[KINDS_MAX];
static size_t kind_count, step, first, last, cuts, answers;
static char error[ERROR_MAX];

static struct kind *find(const char *name)
{
    for (size_t i = 0; i < kind_count; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    struct kind *kind = &kinds[kind_count < KINDS_MAX ? kind_count++ : KINDS_MAX - 1];
    memset(kind, 0, sizeof *kind);
    snprintf(kind->name, sizeof kind->name, "%s", name);
    kind->next[UP] = kind->next[DOWN] = first;
    return kind;
}

void plan_cuts(size_t from, size_t by, size_t to)
{
    first = from;
    last = to;
    step = by;
    error[0] = '\0';
    for (size_t i = 0; i < kind_count; i++)
        kinds[i].next[UP] = kinds[i].next[DOWN] = from;
}

void plan_error(const char *text)
{
    step = 0;
    snprintf(error, sizeof error, "%s", text);
    for (size_t i = 0; i < kind_count; i++)
        kinds[i].answered = false;
}

void plan_off(void)
{
    step = 0;
    error[0] = '\0';
}

size_t plan_cut(const char *name, enum direction direction, size_t size)
{
    struct kind *kind = find(name);
    kind->seen += direction == UP;
    if (size > kind->largest[direction])
        kind->largest[direction] = size;
    bool repeats = kind->next[direction] > last && strncmp(name, "LOAD ", 5) != 0;
    kind->passed[direction]++;
    if (step == 0 || kind->next[direction] >= size || repeats)
        return size;
    kind->passed[direction] = 0;
    size_t at = kind->next[direction];
    kind->next[direction] += step;
    cuts++;
    return at;
}

const char *plan_answer(const char *name)
{
    struct kind *kind = find(name);
    if (error[0] == '\0' || kind->answered)
        return NULL;
    kind->answered = true;
    answers++;
    return error;
}

void plan_report(FILE *stream)
{
    fprintf(stream, "%zu cuts %zu answers", cuts, answers);
    for (size_t i = 0; i < kind_count; i++)
        fprintf(stream, "\t%s %zu %zu %zu %zu %zu %zu %zu %d", kinds[i].name, kinds[i].seen,
                kinds[i].next[UP], kinds[i].largest[UP], kinds[i].passed[UP], kinds[i].next[DOWN],
                kinds[i].largest[DOWN], kinds[i].passed[DOWN], kinds[i].answered);
    fputc('\n', stream);
}
