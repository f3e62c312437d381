/* SPDX-License-Identifier: MIT
 *
 * Shared state: tasks run in parallel, so what they share is either guarded or has one owner.
 *
 * To see: a hundred tasks pay into an account. First each takes the account's mutex, and may wait
 * while it holds it. Then nobody but one task knows the balance, and the others send it what they
 * pay; there is nothing to lock. No cent is missing either way. */
#include <stdint.h>
#include <stdio.h>

#include <fettle/channel.h>
#include <fettle/mutex.h>
#include <fettle/runtime.h>
#include <fettle/task_set.h>
#include <fettle/time.h>

enum { PAYERS = 100, PAYMENTS = 10 };

/* ---- guarded by a mutex ---- */

struct account {
    struct ftl_mutex *mutex; /* guards balance */
    long balance;
};

static void *pay(void *arg)
{
    struct account *account = arg;
    for (int i = 0; i < PAYMENTS; i++) {
        FTL_PERMIT(held);
        if (ftl_mutex_lock(account->mutex, FTL_FOREVER, &held) != 0)
            return NULL;
        long balance = account->balance;
        ftl_yield(); /* others run, and wait for the mutex */
        account->balance = balance + 1;
    } /* the block ends: unlocked */
    return NULL;
}

static void run_all(ftl_task_fn fn, void *arg)
{
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    ftl_assert(set);
    for (int i = 0; i < PAYERS; i++)
        ftl_assert(ftl_task_set_spawn(set, ftl_runtime_current(), fn, arg, NULL, NULL, NULL) == 0);
    while (ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == 0)
        ftl_assert(outcome.kind == FTL_COMPLETED);
    ftl_task_set_free(set);
}

static void with_a_mutex(void)
{
    struct account account = {ftl_mutex_new(), 0};
    ftl_assert(account.mutex);
    run_all(pay, &account);
    ftl_mutex_free(account.mutex);
    printf("with a mutex: %ld\n", account.balance);
}

/* ---- owned by one task ---- */

static void *keep_the_balance(void *channel)
{
    intptr_t balance = 0; /* nobody else can reach it */
    void *amount;
    while (ftl_channel_recv(channel, FTL_FOREVER, &amount) == 0)
        balance += (intptr_t)amount;
    return (void *)balance;
}

static void *send_payments(void *channel)
{
    for (int i = 0; i < PAYMENTS; i++)
        if (ftl_channel_send(channel, (void *)1, FTL_FOREVER) != 0)
            break;
    return NULL;
}

static void with_an_owner(void)
{
    struct ftl_channel *channel = ftl_channel_new(16, NULL);
    struct ftl_task *owner;
    struct ftl_outcome outcome;
    ftl_assert(channel);
    ftl_assert(ftl_spawn(ftl_runtime_current(), keep_the_balance, channel, NULL, &owner) == 0);
    run_all(send_payments, channel);
    ftl_channel_close(channel);
    ftl_assert(ftl_task_join(owner, FTL_FOREVER, &outcome) == 0);
    ftl_channel_unref(channel);
    printf("with an owner: %jd\n", (intmax_t)(intptr_t)outcome.value);
}

static void *both_ways(void *arg)
{
    with_a_mutex();
    with_an_owner();
    return arg;
}

int main(void)
{
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(NULL, &runtime) != 0 ||
        ftl_spawn(runtime, both_ways, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
