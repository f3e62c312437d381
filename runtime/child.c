/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A child is cloned as vfork(2) does it: it shares our memory, on a stack of its own, and the
 * thread that starts it stands still until the child has executed its program. So nothing is
 * copied, however large we are, and what fails in the child is known here at once.
 *
 * posix_spawn(3) does the same, but cannot set limits, a death signal, or a cgroup. A helper
 * program that does it in between would cost a second exec for each child, and would have to be
 * found; and prlimit(2) from here would come too late for a child that runs already.
 *
 * What the child does until then is in functions of this file that make plain system calls only:
 * other threads may hold any lock of the C library, and sanitizers must not take what the child
 * does for our doing. All signals are blocked here meanwhile, so that no handler of ours runs in
 * it; it resets every disposition before it unblocks them.
 *
 * It begins in its cgroup by clone3(2); where that does not work (an old kernel, or a service with
 * RestrictNamespaces=, which hides clone3) it writes itself into cgroup.procs. */
#include "runtime/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* For what runs in the child. */
#define IN_CHILD __attribute__((no_sanitize("thread", "address", "undefined"), noinline))

#define CPU_GRACE 5 /* seconds of processor time between SIGXCPU and SIGKILL */
#define KERNEL_SIGNALS 64
#define KERNEL_SIGSET (KERNEL_SIGNALS / 8)

/* ---- in the child -------------------------------------------------------------------------- */

/* -errno where it fails. */
IN_CHILD static long call(long number, long a, long b, long c, long d)
{
    long rc = syscall(number, a, b, c, d);
    return rc == -1 ? -(long)errno : rc;
}

#define CALL(number, a, b, c, d) call((number), (long)(a), (long)(b), (long)(c), (long)(d))

/* Kills it when the thread that started it ends, and makes sure that this has not happened yet. */
IN_CHILD static int tie(const struct ftl__child *child)
{
    long rc = CALL(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);

    if (rc == 0 && CALL(SYS_getppid, 0, 0, 0, 0) != child->parent)
        rc = -ESRCH;
    return (int)rc;
}

IN_CHILD static int join_cgroup(const struct ftl__child *child)
{
    long rc;

    if (child->cgroup_procs < 0)
        return 0;
    rc = CALL(SYS_write, child->cgroup_procs, "0", 1, 0);
    return rc < 0 ? (int)rc : 0;
}

IN_CHILD static int set_fd(const struct ftl__child *child, int n)
{
    long rc, from = child->fds[n];

    if (from == FTL__CHILD_NULL) {
        from = CALL(SYS_openat, AT_FDCWD, "/dev/null", n == 0 ? O_RDONLY : O_WRONLY, 0);
        if (from < 0)
            return (int)from;
    }
    if (from == n)
        rc = CALL(SYS_fcntl, n, F_SETFD, 0, 0);
    else
        rc = CALL(SYS_dup3, from, n, 0, 0);
    return rc < 0 ? (int)rc : 0;
}

/* Closes everything from `first` on. */
IN_CHILD static int close_from(int first)
{
    struct rlimit files = {.rlim_cur = 1024};
    long rc = CALL(SYS_close_range, first, ~0U, 0, 0);

    if (rc != -ENOSYS && rc != -EPERM)
        return (int)rc;
    /* Linux before 5.9, or a filter of system calls. */
    rc = CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &files);
    for (rlim_t fd = (rlim_t)first; fd < files.rlim_cur; fd++)
        (void)CALL(SYS_close, fd, 0, 0, 0);
    return rc < 0 ? (int)rc : 0;
}

IN_CHILD static int set_fds(const struct ftl__child *child)
{
    int rc = 0;

    for (int n = 0; n < child->fd_count && rc == 0; n++)
        rc = set_fd(child, n);
    return rc != 0 ? rc : close_from(child->fd_count);
}

IN_CHILD static int limit(int resource, uint64_t soft, uint64_t hard)
{
    const struct rlimit value = {.rlim_cur = soft, .rlim_max = hard};

    return soft > 0 ? (int)CALL(SYS_prlimit64, 0, resource, &value, NULL) : 0;
}

IN_CHILD static int set_limits(const struct ftl__child *child)
{
    const struct ftl_process_limits *limits = &child->limits;
    int rc = limit(RLIMIT_AS, limits->memory, limits->memory);

    if (rc == 0)
        rc = limit(RLIMIT_CPU, limits->cpu_seconds, limits->cpu_seconds + CPU_GRACE);
    if (rc == 0)
        rc = limit(RLIMIT_NOFILE, limits->files, limits->files);
    if (rc == 0 && child->nice != 0)
        rc = (int)CALL(SYS_setpriority, PRIO_PROCESS, 0, child->nice, 0);
    return rc;
}

/* Zeros are the default disposition and an empty mask, however the kernel lays them out. */
IN_CHILD static int reset_signals(void)
{
    static const uint64_t none[8];

    for (int signal = 1; signal <= KERNEL_SIGNALS; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            (void)CALL(SYS_rt_sigaction, signal, none, NULL, KERNEL_SIGSET);
    return (int)CALL(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, KERNEL_SIGSET);
}

IN_CHILD static int prepare(const struct ftl__child *child)
{
    int rc = (int)CALL(SYS_setpgid, 0, 0, 0, 0);

    if (rc == 0)
        rc = tie(child);
    if (rc == 0)
        rc = join_cgroup(child);
    if (rc == 0)
        rc = set_fds(child);
    if (rc == 0 && child->cwd != NULL)
        rc = (int)CALL(SYS_chdir, child->cwd, 0, 0, 0);
    if (rc == 0)
        rc = set_limits(child);
    return rc != 0 ? rc : reset_signals();
}

IN_CHILD static void child_main(struct ftl__child *child)
{
    int rc = prepare(child);

    if (rc == 0)
        rc = (int)CALL(SYS_execve, child->file, child->argv, child->envp, 0);
    child->error = -rc;
    for (;;)
        (void)CALL(SYS_exit_group, 127, 0, 0, 0);
}

/* ---- here ------------------------------------------------------------------------------------ */

/* clone(a = flags, b = stack) or clone3(a = its arguments, b = their size), whose child calls
 * child_main(child) on the other stack. The pid, or -errno. */
IN_CHILD static long clone_child(long number, long a, long b, struct ftl__child *child)
{
#if defined(__x86_64__)
    register long result __asm__("rax") = number;
    register long r_tid __asm__("r10") = 0;
    register long r_tls __asm__("r8") = 0;
    register void (*r_fn)(struct ftl__child *) __asm__("r12") = child_main;
    register struct ftl__child *r_child __asm__("r13") = child;

    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movq %%r13, %%rdi\n\t"
                     "callq *%%r12\n\t"
                     "ud2\n"
                     "1:"
                     : "+r"(result)
                     : "D"(a), "S"(b), "d"(0L), "r"(r_tid), "r"(r_tls), "r"(r_fn), "r"(r_child)
                     : "rcx", "r11", "cc", "memory");
    return result;
#elif defined(__aarch64__)
    register long result __asm__("x0") = a;
    register long r_stack __asm__("x1") = b;
    register long r_tid __asm__("x2") = 0;
    register long r_tls __asm__("x3") = 0;
    register long r_child_tid __asm__("x4") = 0;
    register long r_number __asm__("x8") = number;
    register void (*r_fn)(struct ftl__child *) __asm__("x9") = child_main;
    register struct ftl__child *r_child __asm__("x10") = child;

    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(result)
                     : "r"(r_stack), "r"(r_tid), "r"(r_tls), "r"(r_child_tid), "r"(r_number),
                       "r"(r_fn), "r"(r_child)
                     : "cc", "memory");
    return result;
#else
#error "no clone known for this machine"
#endif
}

/* False: clone3() does not do it here, and clone() is to be tried. */
static bool clone_into_cgroup(struct ftl__child *child, void *stack, long *ret_rc)
{
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = FTL__CHILD_STACK,
        .cgroup = (unsigned)child->cgroup,
    };

    *ret_rc = clone_child(SYS_clone3, (long)&args, (long)sizeof args, child);
    return *ret_rc != -ENOSYS && *ret_rc != -EPERM && *ret_rc != -E2BIG && *ret_rc != -EINVAL;
}

static long clone_plain(struct ftl__child *child, void *stack)
{
    long rc;

    if (child->cgroup > 0) {
        child->cgroup_procs = openat(child->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (child->cgroup_procs < 0)
            return -errno;
    }
    rc = clone_child(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, (long)stack + FTL__CHILD_STACK,
                     child);
    if (child->cgroup_procs >= 0)
        close(child->cgroup_procs);
    return rc;
}

/* What the child is to be set to: never below what we are ourselves, which would not be allowed. */
static int nice_of(const struct ftl_process_limits *limits)
{
    return limits->nice > getpriority(PRIO_PROCESS, 0) ? limits->nice : 0;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int ftl__child_start(struct ftl__child *child, void *stack, pid_t *ret_pid)
{
    uint64_t all = ~UINT64_C(0), saved;
    long pid;

    child->parent = getpid();
    child->nice = nice_of(&child->limits);
    child->cgroup_procs = -1;
    child->error = 0;
    /* Those of the C library, too, which pthread_sigmask() leaves out. */
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &saved, KERNEL_SIGSET) != 0)
        return errno;
    if (child->cgroup <= 0 || !clone_into_cgroup(child, stack, &pid))
        pid = clone_plain(child, stack);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &saved, NULL, KERNEL_SIGSET);
    if (pid < 0)
        return (int)-pid;
    if (child->error != 0) {
        reap((pid_t)pid);
        return child->error;
    }
    *ret_pid = (pid_t)pid;
    return 0;
}
