/* SPDX-License-Identifier: MIT
 *
 * The same scenarios for rings of 2: a second ring queue, under names of its own. */
#undef FTL__QUEUE_SIZE
#define FTL__QUEUE_SIZE  2u
#define ftl__queue_init  ftl__queue_init_2
#define ftl__queue_push  ftl__queue_push_2
#define ftl__queue_pop   ftl__queue_pop_2
#define ftl__queue_shed  ftl__queue_shed_2
#define ftl__queue_steal ftl__queue_steal_2
#define ftl__queue_len   ftl__queue_len_2
#define MODEL_RING(name) name##_2

#include "runtime/queue.c"

#include "tests/model/queue.c"
