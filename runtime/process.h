/* SPDX-License-Identifier: MIT
 *
 * Child processes: started without a shell in a process group of their own, watched over a pidfd. */
#ifndef FETTLE_PROCESS_H
#define FETTLE_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include <fettle/io.h>

struct ftl_process;

/* What the child gets as a descriptor: nothing (/dev/null), a pipe to us, or one of ours. */
enum ftl_stdio { FTL_STDIO_NULL, FTL_STDIO_PIPE, FTL_STDIO_INHERIT };

struct ftl_process_options {
    const char *const *argv; /* argv[0] is looked up in PATH if it has no slash; NULL-terminated */
    const char *const *envp; /* the whole environment; NULL-terminated                            */
    const char *cwd;         /* NULL = ours                                                       */
    enum ftl_stdio in, out, err;
};

/* Starts the child: no descriptor but 0, 1, 2, default signal dispositions, empty signal mask, a
 * process group of its own. `runtime` drives its pipes and its pidfd.
 * FTL_ESYS with *ret_errno (ENOENT: no such program): nothing was started. FTL_ENOMEM. */
FTL_API int ftl_process_start(struct ftl_runtime *runtime, const struct ftl_process_options *options,
                              struct ftl_process **ret_process, int *ret_errno);

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
};

/* Waits for the child's end and reaps it; repeatable, the same answer each time. One waiter at a
 * time. FTL_ETIMEDOUT, FTL_ECANCELED. */
FTL_API int ftl_process_wait(struct ftl_process *process, int64_t deadline, struct ftl_exit *ret_exit);

/* Sends `signal` to the whole process group (to what is left of it after the leader's end, too, as
 * long as the process object was not freed). Never signals a recycled pid. */
FTL_API void ftl_process_kill(struct ftl_process *process, int signal);

/* Kills the group with SIGKILL if the child has not been reaped, reaps it, closes the pipes, frees.
 * Does not wait for more than the kill takes. NULL-safe. Usable as a defer. */
FTL_API void ftl_process_free(struct ftl_process *process);

#endif
