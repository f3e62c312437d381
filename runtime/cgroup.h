/* SPDX-License-Identifier: MIT
 *
 * A cgroup (v2) of one child: all that it forks stays in it, whatever it does to leave. */
#ifndef FETTLE_RUNTIME_CGROUP_H
#define FETTLE_RUNTIME_CGROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/export.h>

/* Where a runtime makes them: the directory is its user's, and stays open. */
struct ftl__cgroups {
    int dir; /* 0 = nowhere */
    bool memory; /* it may limit memory there */
    _Atomic uint32_t made;
};

struct ftl__cgroup {
    int dir; /* 0 = there is none */
    int parent;
    char name[24];
};

/* Makes one, in which a child may use `memory` bytes (0 = as many as there are). Any thread. 0 or
 * an errno value: nothing is left. */
int ftl__cgroup_make(struct ftl__cgroups *cgroups, uint64_t memory, struct ftl__cgroup *ret_cgroup);

/* SIGKILL to all that is in it. Any thread. */
void ftl__cgroup_kill(const struct ftl__cgroup *cgroup);

/* Has the kernel killed it because its memory was used up? */
bool ftl__cgroup_is_out_of_memory(const struct ftl__cgroup *cgroup);

/* Ends what is left in it, removes and closes it. Waits for that, some seconds at most; masked.
 * None: nothing. */
void ftl__cgroup_end(struct ftl__cgroup *cgroup);

/* The same for the cgroup `name` in `parent` and all below it, of which nobody else knows. False:
 * something in it does not go. */
bool ftl__cgroup_remove(int parent, const char *name);

/* Calls visit(dir, name) for each cgroup in `dir` whose name begins so. */
void ftl__cgroup_each(int dir, const char *prefix, void (*visit)(int dir, const char *name));
/* A visitor: removes it. */
void ftl__cgroup_remove_one(int dir, const char *name);

/* Writes `text` to a file of the directory. 0 or an errno value. */
int ftl__cgroup_write(int dir, const char *file, const char *text);
/* Reads up to size - 1 bytes of one, NUL-terminated. 0 or an errno value. */
int ftl__cgroup_read(int dir, const char *file, char *text, size_t size);
/* Is `word` among those of a text, between blanks and newlines? */
bool ftl__cgroup_names(const char *text, const char *word);

#endif
