/* SPDX-License-Identifier: MIT
 *
 * The delegation: a part of the cgroup tree that is ours, in which each child process gets a
 * cgroup. */
#ifndef FETTLE_DAEMON_DELEGATION_H
#define FETTLE_DAEMON_DELEGATION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct ftl__delegation {
    int dir;  /* of our own directory, locked as long as we live; 0 = there is no delegation */
    int base; /* what it is in */
    char name[32];
    char path[PATH_MAX]; /* of base */
    bool memory;         /* the memory of children can be limited there */
};

/* By the configuration's `cgroup`: "none"; a directory in which to make ours; or "auto": the
 * cgroup that we are in, if it is delegated to us, and nothing otherwise. Ends what dead daemons
 * have left there. 0, or FTL_ESYS with a reason in one line; *ret_delegation is filled in either
 * case. main()'s thread, before there are runtimes. */
int ftl__delegation_open(const char *setting, struct ftl__delegation *ret_delegation, char *reason,
                         size_t reason_size);

/* Gives it up. No child is left. None: nothing. */
void ftl__delegation_close(struct ftl__delegation *delegation);

#endif
