/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The program is looked up once, in the PATH that it will see itself (`env` may set another); from
 * then on its absolute path is what is run, and its argv[0]. Immutable once made. */
#include "jobs/invocation.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"

static const char *const clean_env[] = {"PATH=" FTL__PROGRAM_PATH, "LANG=C.UTF-8", "HOME=/", NULL};

static size_t count_strings(const char *const *list)
{
    size_t count = 0;

    while (list != NULL && list[count] != NULL) {
        count++;
    }
    return count;
}

static void free_strings(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        free(list[i]);
    }
    free(list);
}

void ftl__invocation_fini(struct ftl__invocation *invocation)
{
    free_strings(invocation->argv);
    free_strings(invocation->env);
    free(invocation->cwd);
}

/* Appends a copy to a list with room for it; NULL stays its end. */
static int append(char **list, size_t *count, const char *string)
{
    list[*count] = strdup(string);
    if (list[*count] == NULL) {
        return FTL_ENOMEM;
    }
    (*count)++;
    return 0;
}

static bool same_name(const char *a, const char *b)
{
    size_t size = strcspn(a, "=");

    return strncmp(a, b, size) == 0 && b[size] == '=';
}

static bool is_set(const char *const *env, const char *variable)
{
    for (; env != NULL && *env != NULL; env++) {
        if (same_name(variable, *env)) {
            return true;
        }
    }
    return false;
}

/* The clean environment under what was configured. */
static int copy_env(struct ftl__invocation *invocation, const char *const *env)
{
    size_t room = sizeof(clean_env) / sizeof(clean_env[0]) + count_strings(env);
    int rc = 0;

    invocation->env = calloc(room, sizeof(*invocation->env));
    if (invocation->env == NULL) {
        return FTL_ENOMEM;
    }
    for (size_t i = 0; clean_env[i] != NULL && rc == 0; i++) {
        if (!is_set(env, clean_env[i])) {
            rc = append(invocation->env, &invocation->env_count, clean_env[i]);
        }
    }
    for (; env != NULL && *env != NULL && rc == 0; env++) {
        rc = append(invocation->env, &invocation->env_count, *env);
    }
    return rc;
}

static int copy_argv(struct ftl__invocation *invocation, const char *file, const char *const *argv)
{
    size_t count = 0;
    int rc;

    invocation->argv = calloc(count_strings(argv) + 1, sizeof(*invocation->argv));
    if (invocation->argv == NULL) {
        return FTL_ENOMEM;
    }
    rc = append(invocation->argv, &count, file);
    for (argv++; *argv != NULL && rc == 0; argv++) {
        rc = append(invocation->argv, &count, *argv);
    }
    return rc;
}

/* Where the program is; an error says what was looked for. */
static int find(const char *what, const char *const *argv, const char *const *env,
                char file[PATH_MAX], char *error, size_t error_size)
{
    const char *name = argv != NULL && argv[0] != NULL ? argv[0] : "";
    const char *path = env != NULL ? ftl__environment_get(env, "PATH") : NULL;
    int rc;

    if (name[0] != '/' && strchr(name, '/') != NULL) {
        (void)snprintf(error, error_size, "%s %s: neither an absolute path nor a name in PATH",
                       what, name);
        return FTL_EINVAL;
    }
    if (path == NULL) {
        path = FTL__PROGRAM_PATH;
    }
    rc = ftl__program_find(name, path, file, PATH_MAX);
    if (rc == 0) {
        rc = ftl__program_check(file);
    }
    if (rc == 0) {
        return 0;
    }
    if (name[0] == '/') {
        (void)snprintf(error, error_size, "%s %s: %s", what, name, strerrordesc_np(rc));
    } else {
        (void)snprintf(error, error_size, "%s %s: %s (PATH is %s)", what, name, strerrordesc_np(rc),
                       path);
    }
    return FTL_EINVAL;
}

static int copy(struct ftl__invocation *invocation, const char *file, const char *const *argv,
                const char *const *env, const char *cwd)
{
    int rc = copy_argv(invocation, file, argv);

    if (rc == 0) {
        rc = copy_env(invocation, env);
    }
    if (rc != 0) {
        return rc;
    }
    invocation->cwd = strdup(cwd != NULL ? cwd : "/");
    return invocation->cwd != NULL ? 0 : FTL_ENOMEM;
}

int ftl__invocation_init(struct ftl__invocation *invocation, const char *what,
                         const char *const *argv, const char *const *env, const char *cwd,
                         char *error, size_t error_size)
{
    struct ftl__invocation made = {.argv = NULL};
    char file[PATH_MAX];
    int rc = find(what, argv, env, file, error, error_size);

    if (rc != 0) {
        return rc;
    }
    rc = copy(&made, file, argv, env, cwd);
    if (rc != 0) {
        ftl__invocation_fini(&made);
        (void)snprintf(error, error_size, "%s", ftl_error_text(rc));
        return rc;
    }
    *invocation = made;
    return 0;
}

static bool equal(char *const *a, char *const *b)
{
    while (*a != NULL && *b != NULL && strcmp(*a, *b) == 0) {
        a++;
        b++;
    }
    return *a == *b; /* both at their ends */
}

bool ftl__invocation_equal(const struct ftl__invocation *a, const struct ftl__invocation *b)
{
    return equal(a->argv, b->argv) && equal(a->env, b->env) && strcmp(a->cwd, b->cwd) == 0;
}
