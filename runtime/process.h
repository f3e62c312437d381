/* SPDX-License-Identifier: MIT
 *
 * Child processes: started without a shell, in a process group of their own, watched by pidfd. */
#ifndef FETTLE_PROCESS_H
#define FETTLE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <fettle/io.h>

struct ftl_process;

/* What the child gets as a descriptor: nothing (/dev/null), a pipe to us, or one of ours. */
enum ftl_stdio { FTL_STDIO_NULL, FTL_STDIO_PIPE, FTL_STDIO_INHERIT };

/* What the child may use, and what it has forked by then inherits. 0 = as we may ourselves. A limit
 * beyond what we may have ourselves (the hard one) is FTL_ESYS, EPERM. */
struct ftl_process_limits {
    uint64_t memory;      /* bytes of address space: allocations beyond it fail. Or, of a contained
                             child whose cgroup can limit that, of memory: beyond it it is killed */
    uint64_t cpu_seconds; /* of processor time: SIGXCPU then, and SIGKILL 5 s of it later         */
    uint64_t files;       /* descriptors at a time                                                */
    int nice;             /* its nice value, 0 to 19; ours if that is higher                      */
};

struct ftl_process_options {
    const char *const *argv; /* argv[0] without a slash is looked up in the PATH of `envp`;
                                NULL-terminated                                                   */
    const char *const *envp; /* the whole environment; NULL-terminated. NULL = ours (environ(7),
                                which nobody may change meanwhile)                                */
    const char *cwd;         /* NULL = ours                                                       */
    enum ftl_stdio in, out, err;
    const int *fds; /* descriptors of ours that the child has as 3, 4, …; they stay ours and open.
                       At most FTL_PROCESS_FDS                                                    */
    size_t fd_count;
    struct ftl_process_limits limits;
};

#define FTL_PROCESS_FDS 4

/* Starts the child: no descriptor but 0, 1, 2 and those of `fds`, default signal dispositions,
 * empty signal mask, a process group of its own. It is killed when the runtime is freed, or when
 * this process ends, however it does (but for a program that changes its user, or has
 * capabilities of its own). `runtime` drives its pipes and its pidfd. Waits until the child
 * executes its program (a millisecond or so); no abort ends that wait. FTL_ESYS with *ret_errno
 * (ENOENT: no such program or cwd; ECHILD: this program ignores SIGCHLD; ENOSYS: Linux before
 * 5.3, or a filter of system calls, has no pidfds), FTL_ENOMEM, FTL_EINVAL (there is no argv[0],
 * too many `fds`): nothing is left running. ret_errno may be NULL. */
FTL_API int ftl_process_start(struct ftl_runtime *runtime,
                              const struct ftl_process_options *options,
                              struct ftl_process **ret_process, int *ret_errno);

/* From now on each child of the runtime begins in a cgroup of its own, made in `dir`: a
 * descriptor of the directory of a cgroup (v2) in which this process may make others, the
 * caller's, open as long as the runtime. A kill, and the end of the process object, then reach
 * whatever the child has forked. Before the first start. FTL_ESYS (errno tells): it is no such
 * directory. */
FTL_API int ftl_process_contain(struct ftl_runtime *runtime, int dir);

/* Its pid, and the number of its group; both stay taken until ftl_process_free(). Any thread. */
FTL_API pid_t ftl_process_pid(const struct ftl_process *process);

/* Our ends of the pipes, NULL where there is none; owned by the process object. close_stdin sends
 * end of file. */
FTL_API struct ftl_fd *ftl_process_stdin(struct ftl_process *process);
FTL_API struct ftl_fd *ftl_process_stdout(struct ftl_process *process);
FTL_API struct ftl_fd *ftl_process_stderr(struct ftl_process *process);
FTL_API void ftl_process_close_stdin(struct ftl_process *process);

/* How it ended: exactly one of code ≥ 0 and signal > 0; the other is -1 / 0. */
struct ftl_exit {
    int code, signal;
    bool core_dumped;
    bool out_of_memory; /* its cgroup was, and the kernel has killed it                        */
    int64_t cpu_time;   /* ns of processor time; with that of children that it has waited for  */
};

/* Waits for the child's end; repeatable, the same answer each time. One waiter at a time.
 * FTL_ETIMEDOUT, FTL_ECANCELED: *ret_exit is untouched. The zombie stays until ftl_process_free(), so that the number of
 * the group stays taken. */
FTL_API int ftl_process_wait(struct ftl_process *process, int64_t deadline,
                             struct ftl_exit *ret_exit);

/* Sends `signal` to the whole process group (to what is left of it after the leader's end, too, as
 * long as the process object was not freed). Never signals a recycled pid. Any thread. */
FTL_API void ftl_process_kill(struct ftl_process *process, int signal);

/* Kills what is left of the group with SIGKILL (members that outlived the child, too), reaps the
 * child, closes the pipes, frees. Does not wait for more than the kill takes. No task may be
 * waiting on a pipe of it. NULL-safe. */
FTL_API void ftl_process_free(struct ftl_process *process);

#endif
