/* SPDX-License-Identifier: MIT
 *
 * Where a program is: the search that a shell does along PATH, without running anything. */
#ifndef FETTLE_RUNTIME_PROGRAM_H
#define FETTLE_RUNTIME_PROGRAM_H

#include <stddef.h>

/* The PATH of an environment that names none. */
#define FTL__PROGRAM_PATH "/usr/local/bin:/usr/bin:/bin"

/* The value of `name` in an environment (NULL-terminated "NAME=value"), or NULL. */
const char *ftl__environment_get(const char *const *envp, const char *name);

/* Writes the file to execute for `name` to `ret_file`. With a slash it is `name` itself; without
 * one it is the first executable regular file of that name in a directory of `path`, where an
 * empty or relative directory is passed over: what runs must not hang on the current one. 0, or an
 * errno value: ENOENT, EACCES (it is there, but cannot be executed), ENAMETOOLONG. Any thread. */
int ftl__program_find(const char *name, const char *path, char *ret_file, size_t size);

/* 0 if `file` is a regular file that we may execute, else an errno value. */
int ftl__program_check(const char *file);

#endif
