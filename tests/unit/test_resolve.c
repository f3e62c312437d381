/* SPDX-License-Identifier: MIT
 *
 * Names to addresses while name servers are slow: getaddrinfo(3) is the test's own. */
#include "daemon/resolve.h"

#include <netdb.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "tests/unit/task_fixture.h"
#include "tests/unit/unit.h"

static _Atomic int calls;
static sem_t answers;

/* Slow until the test has an answer for it, which is that there is no such name. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    (void)node;
    (void)service;
    (void)found;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0)
        return EAI_NONAME;
    atomic_fetch_add(&calls, 1);
    while (sem_wait(&answers) != 0)
        continue;
    return EAI_AGAIN;
}

static int resolve(const char *host, int64_t timeout, const char **ret_reason)
{
    struct addrinfo *found = NULL;
    return ftl__resolve(host, 6379, ftl_deadline(timeout), &found, ret_reason);
}

static void expect_late(const char *host)
{
    const char *reason = NULL;
    ftl_assert(resolve(host, FTL_MS, &reason) == FTL_ETIMEDOUT);
}

static void expect_answer(const char *host)
{
    const char *reason = NULL;
    ftl_assert(resolve(host, 60 * FTL_S, &reason) == FTL_ENOENT);
    ftl_assert(reason != NULL && strcmp(reason, gai_strerror(EAI_AGAIN)) == 0);
}

static void await_calls(int count)
{
    while (atomic_load(&calls) < count)
        ftl_assert(ftl_sleep(FTL_MS) == 0);
}

/* However often it is tried: one thread for each name, whose answer whoever tries then gets, unless
 * the test was held up and it is too old by then. */
static void *late(void *arg)
{
    enum { ENOUGH = 8 };
    (void)arg;
    for (int i = 0; i < 20; i++) {
        expect_late("one.test");
        expect_late("two.test");
    }
    await_calls(2);
    ftl_assert(atomic_load(&calls) == 2);
    int64_t began = ftl_now();
    for (int i = 0; i < ENOUGH; i++)
        ftl_assert(sem_post(&answers) == 0);
    expect_answer("one.test");
    expect_answer("two.test");
    ftl_assert(ftl_now() - began > 4 * FTL_S || atomic_load(&calls) == 2);
    int before = atomic_load(&calls);
    expect_answer("one.test"); /* it was taken: it is looked for anew */
    ftl_assert(atomic_load(&calls) == before + 1);
    return NULL;
}

START_TEST(a_late_one_is_taken_up)
{
    ck_assert_int_eq(sem_init(&answers, 0, 0), 0);
    fixture_start();
    fixture_run(late, NULL);
    fixture_stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, a_late_one_is_taken_up);
}

UNIT_MAIN("resolve", add_cases)
