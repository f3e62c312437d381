/* SPDX-License-Identifier: MIT
 *
 * runtime/program: where a program is found, and what an environment says. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/program.h"
#include "tests/unit/unit.h"

static char *make_file(const char *dir, const char *name, mode_t mode)
{
    char *file;
    int fd;

    ck_assert_int_gt(asprintf(&file, "%s/%s", dir, name), 0);
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
    ck_assert_int_ge(fd, 0);
    close(fd);
    return file;
}

START_TEST(programs_are_found_along_path)
{
    char a[] = "/tmp/ftl-a-XXXXXX", b[] = "/tmp/ftl-b-XXXXXX", path[128], file[256];
    char *plain, *program;
    ck_assert_ptr_nonnull(mkdtemp(a));
    ck_assert_ptr_nonnull(mkdtemp(b));
    plain = make_file(a, "tool", 0600);
    program = make_file(b, "tool", 0700);
    snprintf(path, sizeof(path), ":relative:%s:%s", a, b);
    ck_assert_int_eq(ftl__program_find("tool", path, file, sizeof(file)), 0);
    ck_assert_str_eq(file, program);
    ck_assert_int_eq(ftl__program_find("tool", a, file, sizeof(file)), EACCES);
    ck_assert_int_eq(ftl__program_find("other", path, file, sizeof(file)), ENOENT);
    ck_assert_int_eq(ftl__program_find("tool", "", file, sizeof(file)), ENOENT);
    ck_assert_int_eq(ftl__program_find("/any/thing", path, file, sizeof(file)), 0);
    ck_assert_str_eq(file, "/any/thing");
    ck_assert_int_eq(ftl__program_find("/any/thing", path, file, 5), ENAMETOOLONG);
    ck_assert_int_eq(ftl__program_check(a), EACCES); /* a directory */
    unlink(plain);
    unlink(program);
    rmdir(a);
    rmdir(b);
    free(plain);
    free(program);
}
END_TEST

START_TEST(environment_lookup)
{
    static const char *const envp[] = {"PATHS=no", "PATH=/here", "EMPTY=", NULL};
    ck_assert_str_eq(ftl__environment_get(envp, "PATH"), "/here");
    ck_assert_str_eq(ftl__environment_get(envp, "EMPTY"), "");
    ck_assert_ptr_null(ftl__environment_get(envp, "PAT"));
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, programs_are_found_along_path);
    UNIT_CASE(suite, environment_lookup);
}

UNIT_MAIN("program", add_cases)
