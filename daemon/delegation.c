/* SPDX-License-Identifier: MIT
 *
 * DESIGN. BASE is the delegated directory. In it each daemon has one of its own:
 *
 *     BASE/fettled-PID/            locked (flock) by its daemon
 *     BASE/fettled-PID/daemon      the daemon itself, if it began in BASE
 *     BASE/fettled-PID/child-N     one for each child (runtime/cgroup.c)
 *
 * A cgroup with processes of its own cannot hand controllers on, so a daemon that was started in
 * BASE moves into a leaf first. A directory that nobody has locked belongs to a daemon that is
 * dead: what is left in it is killed, and it is removed. Our own name may be such a one, too, of
 * an earlier process with our number, or of this one before it executed itself anew.
 *
 * Without a service manager nobody but the next daemon does that. Under systemd the unit's cgroup
 * ends with its main process. */
#include "daemon/delegation.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fettle/error.h>

#include "runtime/cgroup.h"

#define PREFIX "fettled-"
#define LEAF "daemon"
#define TRIES 10 /* for a directory that somebody removes before we have locked it */

static int open_dir(int at, const char *path)
{
    return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool is_same(int a, int b)
{
    struct stat of_a, of_b;

    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* ---- where ---------------------------------------------------------------------------------- */

/* The path of our cgroup below the mount, or false. */
static bool read_own(char *path, size_t size)
{
    char text[PATH_MAX + 64];
    const char *begin;

    if (ftl__cgroup_read(AT_FDCWD, "/proc/self/cgroup", text, sizeof text) != 0)
        return false;
    begin = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (begin == NULL)
        return false;
    begin = strchr(begin, '/');
    return begin != NULL && snprintf(path, size, "%.*s", (int)strcspn(begin, "\n"), begin) <
                                (int)size;
}

/* The directory of our cgroup: its path, and a descriptor or -1. */
static int open_own(char path[PATH_MAX])
{
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char own[PATH_MAX];

    if (!read_own(own, sizeof own))
        return -1;
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        struct statfs fs;
        if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC &&
            snprintf(path, PATH_MAX, "%s%s", mounts[i], own) < PATH_MAX)
            return open_dir(AT_FDCWD, path);
    }
    return -1;
}

/* A daemon that has executed itself anew is in the leaf that it made before. */
static void leave_leaf(char *path, const char *name)
{
    char tail[64];
    int size = snprintf(tail, sizeof tail, "/%s/" LEAF, name);
    size_t length = strlen(path);

    if (length > (size_t)size && strcmp(path + length - (size_t)size, tail) == 0)
        path[length - (size_t)size] = '\0';
}

/* systemd marks what it delegates; a directory that belongs to somebody who is not root was given
 * to him. */
static bool is_delegated(int dir)
{
    char value[2] = "";
    struct stat st;

    if (fgetxattr(dir, "user.delegate", value, 1) == 1 ||
        fgetxattr(dir, "trusted.delegate", value, 1) == 1)
        return value[0] == '1';
    return geteuid() != 0 && fstat(dir, &st) == 0 && st.st_uid == geteuid();
}

/* False: nothing is delegated to us. */
static bool find(struct ftl__delegation *delegation)
{
    int own = open_own(delegation->path);

    if (own < 0)
        return false;
    close(own);
    leave_leaf(delegation->path, delegation->name);
    delegation->base = open_dir(AT_FDCWD, delegation->path);
    if (delegation->base >= 0 && is_delegated(delegation->base))
        return true;
    if (delegation->base >= 0)
        close(delegation->base);
    return false;
}

static int open_base(struct ftl__delegation *delegation, const char *path)
{
    struct statfs fs;

    snprintf(delegation->path, sizeof delegation->path, "%s", path);
    delegation->base = open_dir(AT_FDCWD, path);
    if (delegation->base < 0)
        return errno;
    if (fstatfs(delegation->base, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
        return 0;
    close(delegation->base);
    return ENOTSUP;
}

/* ---- who was here before ------------------------------------------------------------- */

/* Of a daemon that is dead, if nobody has locked it. */
static void remove_stale(int base, const char *name)
{
    int dir = open_dir(base, name);

    if (dir < 0)
        return;
    if (flock(dir, LOCK_EX | LOCK_NB) == 0)
        (void)ftl__cgroup_remove(base, name);
    close(dir);
}

/* ---- our own ------------------------------------------------------------------------- */

/* 0 or an errno value; EAGAIN: it was removed before we had locked it. */
static int try_own(struct ftl__delegation *delegation)
{
    int dir, again, error;

    if (mkdirat(delegation->base, delegation->name, 0755) != 0 && errno != EEXIST)
        return errno;
    dir = open_dir(delegation->base, delegation->name);
    if (dir < 0)
        return errno == ENOENT ? EAGAIN : errno;
    error = flock(dir, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
    again = open_dir(delegation->base, delegation->name);
    if (error == EWOULDBLOCK || again < 0 || !is_same(dir, again))
        error = EAGAIN;
    else if (error == 0 && faccessat(dir, "cgroup.kill", W_OK, 0) != 0)
        error = ENOSYS; /* Linux before 5.14: what is left in a cgroup could not be ended */
    if (again >= 0)
        close(again);
    if (error == ENOSYS)
        (void)unlinkat(delegation->base, delegation->name, AT_REMOVEDIR);
    if (error != 0)
        close(dir);
    else
        delegation->dir = dir;
    return error;
}

static int make_own(struct ftl__delegation *delegation)
{
    int error = EAGAIN;

    for (int i = 0; i < TRIES && error == EAGAIN; i++)
        error = try_own(delegation);
    return error;
}

/* Into a leaf, if we are in BASE itself. */
static int move(const struct ftl__delegation *delegation)
{
    char path[PATH_MAX];
    int own = open_own(path), error = 0;
    bool inside = own >= 0 && is_same(own, delegation->base);

    if (own >= 0)
        close(own);
    if (!inside)
        return 0;
    if (mkdirat(delegation->dir, LEAF, 0755) != 0 && errno != EEXIST)
        return errno;
    own = open_dir(delegation->dir, LEAF);
    if (own < 0)
        return errno;
    error = ftl__cgroup_write(own, "cgroup.procs", "0");
    close(own);
    return error;
}

/* If BASE has the controller, the children's cgroups get it, too. Without it they can still be
 * killed. */
static void share_memory(struct ftl__delegation *delegation)
{
    char text[512];

    delegation->memory =
        ftl__cgroup_read(delegation->base, "cgroup.controllers", text, sizeof text) == 0 &&
        ftl__cgroup_names(text, "memory") &&
        ftl__cgroup_write(delegation->base, "cgroup.subtree_control", "+memory") == 0 &&
        ftl__cgroup_write(delegation->dir, "cgroup.subtree_control", "+memory") == 0;
}

static int set_up(struct ftl__delegation *delegation)
{
    int error = make_own(delegation);

    if (error != 0)
        return error;
    ftl__cgroup_each(delegation->base, PREFIX, remove_stale);
    ftl__cgroup_each(delegation->dir, "child-", ftl__cgroup_remove_one);
    error = move(delegation);
    if (error == 0)
        share_memory(delegation);
    return error;
}

int ftl__delegation_open(const char *setting, struct ftl__delegation *ret_delegation, char *reason,
                         size_t reason_size)
{
    struct ftl__delegation *delegation = ret_delegation;
    int error = 0;

    *delegation = (struct ftl__delegation){.base = -1};
    snprintf(delegation->name, sizeof delegation->name, PREFIX "%d", (int)getpid());
    if (strcmp(setting, "none") == 0)
        return 0;
    if (strcmp(setting, "auto") != 0)
        error = open_base(delegation, setting);
    else if (!find(delegation))
        return 0;
    if (error == 0) {
        error = set_up(delegation);
        if (error != 0)
            ftl__delegation_close(delegation);
    }
    if (error == 0)
        return 0;
    snprintf(reason, reason_size, "%s: %s", delegation->path,
             error == ENOTSUP ? "is no cgroup (v2)" : strerrordesc_np(error));
    return FTL_ESYS;
}

void ftl__delegation_close(struct ftl__delegation *delegation)
{
    /* Not while we are in its leaf: then it is the service manager's, or the next daemon's. */
    if (delegation->dir != 0) {
        (void)unlinkat(delegation->base, delegation->name, AT_REMOVEDIR);
        close(delegation->dir);
    }
    if (delegation->base >= 0)
        close(delegation->base);
    delegation->dir = 0;
    delegation->base = -1;
}
