/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One directory for each child, made before it is started and removed when its object is freed. A
 * process can leave its group and its session, but not its cgroup: cgroup.kill reaches all that it
 * has forked, and memory.max counts all of it together. When that is used up, the kernel kills the
 * whole cgroup (memory.oom.group) and counts that there, so that a child's end can be told truly.
 *
 * A killed process leaves its cgroup a moment later, until which the directory cannot be removed:
 * that is waited for, as a task waits. What cannot be killed (it hangs in the kernel) is left
 * where it is.
 *
 * Who delegated the directory, and which controllers it has, is the caller's business. */
#include "runtime/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fettle/process.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "runtime/worker.h"

#define PATIENCE (3 * FTL_S) /* for killed processes to be gone */

/* ---- files -------------------------------------------------------------------------------- */

int ftl__cgroup_write(int dir, const char *file, const char *text)
{
    int fd = openat(dir, file, O_WRONLY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        error = errno;
    close(fd);
    return error;
}

int ftl__cgroup_read(int dir, const char *file, char *text, size_t size)
{
    int fd = openat(dir, file, O_RDONLY | O_CLOEXEC), error;
    ssize_t n;

    if (fd < 0)
        return errno;
    n = read(fd, text, size - 1);
    error = errno;
    close(fd);
    if (n < 0)
        return error;
    text[n] = '\0';
    return 0;
}

bool ftl__cgroup_names(const char *text, const char *word)
{
    size_t size = strlen(word);

    while (*text != '\0') {
        size_t length = strcspn(text, " \n");
        if (length == size && memcmp(text, word, size) == 0)
            return true;
        text += length;
        text += strspn(text, " \n");
    }
    return false;
}

/* ---- one cgroup ----------------------------------------------------------------------------- */

/* Swap would only put the end off; a kernel without it has no such file. */
static int limit_memory(int dir, uint64_t memory)
{
    char text[24];
    int error;

    snprintf(text, sizeof text, "%llu", (unsigned long long)memory);
    error = ftl__cgroup_write(dir, "memory.max", text);
    if (error == 0)
        error = ftl__cgroup_write(dir, "memory.oom.group", "1");
    if (error == 0)
        (void)ftl__cgroup_write(dir, "memory.swap.max", "0");
    return error;
}

int ftl__cgroup_make(struct ftl__cgroups *cgroups, uint64_t memory, struct ftl__cgroup *ret_cgroup)
{
    struct ftl__cgroup cgroup = {.parent = cgroups->dir};
    int error;

    snprintf(cgroup.name, sizeof cgroup.name, "child-%u",
             (unsigned)atomic_fetch_add_explicit(&cgroups->made, 1, memory_order_relaxed));
    if (mkdirat(cgroup.parent, cgroup.name, 0755) != 0)
        return errno;
    cgroup.dir = openat(cgroup.parent, cgroup.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = cgroup.dir < 0 ? errno : 0;
    if (error == 0 && memory > 0 && cgroups->memory)
        error = limit_memory(cgroup.dir, memory);
    if (error == 0) {
        *ret_cgroup = cgroup;
        return 0;
    }
    if (cgroup.dir >= 0)
        close(cgroup.dir);
    (void)unlinkat(cgroup.parent, cgroup.name, AT_REMOVEDIR);
    return error;
}

void ftl__cgroup_kill(const struct ftl__cgroup *cgroup)
{
    (void)ftl__cgroup_write(cgroup->dir, "cgroup.kill", "1"); /* from Linux 5.14 on */
}

bool ftl__cgroup_is_out_of_memory(const struct ftl__cgroup *cgroup)
{
    static const char key[] = "oom_kill ";
    char text[512];
    const char *line = text;

    if (ftl__cgroup_read(cgroup->dir, "memory.events", text, sizeof text) != 0)
        return false; /* memory is not limited here */
    while (line != NULL && strncmp(line, key, sizeof key - 1) != 0) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return line != NULL && line[sizeof key - 1] != '0';
}

/* ---- the end --------------------------------------------------------------------------------- */

static bool is_removed(int parent, const char *name)
{
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

void ftl__cgroup_each(int dir, const char *prefix, void (*visit)(int dir, const char *name))
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;

    if (stream == NULL) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while ((entry = readdir(stream)) != NULL)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
            strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            visit(dir, entry->d_name);
    closedir(stream);
}

void ftl__cgroup_remove_one(int parent, const char *name)
{
    (void)ftl__cgroup_remove(parent, name);
}

bool ftl__cgroup_remove(int parent, const char *name)
{
    int64_t until = ftl_deadline(PATIENCE), pause = FTL_MS / 4;
    int dir;
    bool removed;

    if (is_removed(parent, name))
        return true;
    dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return false;
    (void)ftl__cgroup_write(dir, "cgroup.kill", "1");
    ftl__cgroup_each(dir, "", ftl__cgroup_remove_one); /* a child may have made some of its own */
    close(dir);
    while (!(removed = is_removed(parent, name)) && ftl_now() < until) {
        (void)ftl_sleep(pause);
        pause = pause < 50 * FTL_MS ? 2 * pause : pause;
    }
    return removed;
}

void ftl__cgroup_end(struct ftl__cgroup *cgroup)
{
    if (cgroup->dir == 0)
        return;
    ftl_mask();
    (void)ftl__cgroup_remove(cgroup->parent, cgroup->name);
    ftl_unmask();
    close(cgroup->dir);
    cgroup->dir = 0;
}

/* ---- of a runtime -------------------------------------------------------------------- */

int ftl_process_contain(struct ftl_runtime *runtime, int dir)
{
    char text[512];

    if (ftl__cgroup_read(dir, "cgroup.subtree_control", text, sizeof text) != 0)
        return FTL_ESYS;
    runtime->cgroups.memory = ftl__cgroup_names(text, "memory");
    runtime->cgroups.dir = dir;
    return 0;
}
