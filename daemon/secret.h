/* SPDX-License-Identifier: MIT
 *
 * A file with something in it that nobody else may know. */
#ifndef FETTLE_DAEMON_SECRET_H
#define FETTLE_DAEMON_SECRET_H

#include <stddef.h>

/* Reads the beginning of `file`, size - 1 bytes at most, into `text`, NUL-terminated; the caller
 * wipes it. FTL_ENOENT: there is no such file. FTL_EINVAL: it is no regular file, others may read it,
 * or it cannot be read. `reason` has one line with the file's name. */
int ftl__secret_read(const char *file, char *text, size_t size, char *reason, size_t reason_size);

#endif
