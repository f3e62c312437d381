/* SPDX-License-Identifier: MIT
 *
 * All scenarios, quick ones first. */
#include "tests/model/model.h"

extern const struct model_scenario model_lock, model_inject, model_oneshot, model_channel_unref,
    model_channel, model_channel_close, model_semaphore, model_notify, model_task_abort,
    model_task_wake_abort, model_task_abort_waiting, model_task_join_until, model_task_timer,
    model_task_set, model_task_set_free, model_task_shutdown, model_worker_spawn,
    model_worker_sleep, model_worker_inbox, model_worker_inbox_2, model_worker_steal,
    model_queue_around_2, model_queue_around_4, model_queue_overflow_2, model_queue_overflow_4,
    model_queue_pop_2, model_queue_pop_4, model_queue_exchange_2, model_queue_exchange_4,
    model_worker_hog, model_strands_join, model_strands_select, model_strands_abort,
    model_strands_twice, model_semaphore_big, model_task_shutdown_waiting,
    model_channel_around, model_task_set_detach, model_task_set_until, model_task_finished,
    model_dump_waiting, model_dump_yielding, model_runtime_free, model_monitor_lifo,
    model_monitor_displace, model_monitor_outbox, model_monitor_destructor,
    model_monitor_sleep;

const struct model_scenario *const model_scenarios[] = {
    &model_lock,
    &model_inject,
    &model_oneshot,
    &model_channel_unref,
    &model_channel,
    &model_channel_close,
    &model_channel_around,
    &model_semaphore,
    &model_semaphore_big,
    &model_notify,
    &model_task_abort,
    &model_task_wake_abort,
    &model_task_abort_waiting,
    &model_task_join_until,
    &model_task_timer,
    &model_task_set,
    &model_task_set_free,
    &model_task_set_detach,
    &model_task_set_until,
    &model_task_finished,
    &model_dump_waiting,
    &model_dump_yielding,
    &model_runtime_free,
    &model_monitor_lifo,
    &model_monitor_displace,
    &model_monitor_outbox,
    &model_monitor_destructor,
    &model_monitor_sleep,
    &model_task_shutdown,
    &model_task_shutdown_waiting,
    &model_worker_spawn,
    &model_worker_sleep,
    &model_worker_inbox,
    &model_worker_inbox_2,
    &model_worker_steal,
    &model_worker_hog,
    &model_strands_join,
    &model_strands_select,
    &model_strands_abort,
    &model_strands_twice,
    &model_queue_around_2,
    &model_queue_around_4,
    &model_queue_overflow_2,
    &model_queue_overflow_4,
    &model_queue_pop_2,
    &model_queue_pop_4,
    &model_queue_exchange_2,
    &model_queue_exchange_4,
    NULL,
};

__attribute__((noinline)) void model_use_stack(void)
{
    char bytes[1024];
    volatile char *all = bytes;
    for (size_t i = 0; i < sizeof bytes; i++)
        all[i] = 0;
}
