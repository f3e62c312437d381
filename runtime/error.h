/* SPDX-License-Identifier: MIT
 *
 * Error codes of fettle: every function that can fail returns 0 or one of these negative codes.
 * One list makes the enum, the names and the texts. */
#ifndef FETTLE_ERROR_H
#define FETTLE_ERROR_H

#include <fettle/export.h>

#define FTL_ERROR_MAP(X)                                                                           \
    X(-1, ENOMEM, "out of memory")                                                                 \
    X(-2, ECANCELED, "the wait was cancelled by an abort")                                         \
    X(-3, ETIMEDOUT, "the deadline has passed")                                                    \
    X(-4, ECLOSED, "closed")                                                                       \
    X(-5, EAGAIN, "would have to wait")                                                            \
    X(-6, ESHUTDOWN, "the runtime is shutting down")                                               \
    X(-7, EINVAL, "invalid argument")                                                              \
    X(-8, ELIMIT, "a limit was exceeded")                                                          \
    X(-9, ESYS, "a system call failed")                                                            \
    X(-10, ENOENT, "not found")                                                                    \
    X(-11, EPROTO, "malformed or unexpected data")                                                 \
    X(-12, EEMPTY, "nothing is left")                                                              \
    X(-13, EFENCED, "fenced: another daemon has taken over")                                       \
    X(-14, ECONN, "the connection is down")

enum ftl_error {
#define X(code, name, text) FTL_##name = (code),
    FTL_ERROR_MAP(X)
#undef X
};

/* The name ("FTL_ECLOSED") or the text ("closed") of a code; "FTL_OK"/"success" for 0, "FTL_E?"/
 * "unknown error" for a number that is no code. Never NULL, static storage, any thread. */
FTL_API const char *ftl_error_name(int code);
FTL_API const char *ftl_error_text(int code);

#endif
