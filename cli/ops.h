/* SPDX-License-Identifier: MIT
 *
 * Operations on members of one set, or on jobs of one list, collected and then sent as one
 * call. */
#ifndef FETTLE_CLI_OPS_H
#define FETTLE_CLI_OPS_H

#include <stddef.h>

#include "cli/redis.h"

enum ftl__op_kind {
    FTL__OP_RETRY,
    FTL__OP_KILL,
    FTL__OP_DELETE,
    FTL__OP_CANCEL, /* of a list, not a set */
};

struct ftl__ops;

/* These return 0 or an exit code, having said what failed. `set` is the key of a set or a list,
 * without the prefix. */
int ftl__ops_new(struct ftl__redis *redis, const char *set, enum ftl__op_kind kind,
                 struct ftl__ops **ret_ops);

/* One member: its bytes; for a retry the queue and the job's new bytes; for the others that go to
 * dead the new bytes, or NULL: as it is. All are copied. */
int ftl__ops_add(struct ftl__ops *ops, const char *old, size_t old_size, const char *queue,
                 const char *new, size_t new_size);

/* Sends them; adds to the two counts. What is not in the set any more counts as neither. */
int ftl__ops_run(struct ftl__ops *ops, long long *moved, long long *failed);

void ftl__ops_free(struct ftl__ops *ops); /* NULL-safe */

/* The text of a script that is compiled in; "": there is none of that name. */
const char *ftl__ops_script(const char *name);

#endif
