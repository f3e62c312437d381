/* SPDX-License-Identifier: MIT
 *
 * What a child process is made of, and the way from here to its program. */
#ifndef FETTLE_RUNTIME_CHILD_H
#define FETTLE_RUNTIME_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include <fettle/process.h>

#define FTL__CHILD_FDS (3 + FTL_PROCESS_FDS)
#define FTL__CHILD_NULL (-1) /* /dev/null instead of a descriptor of ours */

/* All is read by the child out of our memory until it executes its program. */
struct ftl__child {
    const char *file;
    const char *const *argv, *const *envp;
    const char *cwd; /* NULL = ours */
    /* fds[n] becomes n, in this order: one of ours that is not below n, or FTL__CHILD_NULL. */
    int fds[FTL__CHILD_FDS];
    int fd_count;
    struct ftl_process_limits limits;
    int cgroup; /* the directory of one (cgroup v2) where it begins; 0 = ours */

    /* Written by the start, or the child. */
    pid_t parent;
    int nice;         /* 0 = as we are */
    int cgroup_procs; /* what the child writes itself into; -1 = nothing */
    int error;        /* why the program could not be executed: errno */
};

/* Bytes of the stack that the child has until then; aligned to 16. */
#define FTL__CHILD_STACK (64 << 10)

/* Starts it on the calling thread: when that ends, the child is killed. Returns when it executes
 * its program or has failed to. 0 and *ret_pid, or an errno value: then no child is left. */
int ftl__child_start(struct ftl__child *child, void *stack, pid_t *ret_pid);

#endif
