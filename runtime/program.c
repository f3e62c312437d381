/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A search along PATH of our own, since execvp(3) and posix_spawnp(3) search the PATH of
 * the calling process: here the one that counts belongs to the environment that the child will
 * get. Holds no state. It looks at files only; whether the kernel can execute what it found is
 * seen at the start. */
#include "runtime/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *ftl__environment_get(const char *const *envp, const char *name)
{
    size_t size = strlen(name);

    for (; *envp != NULL; envp++) {
        if (strncmp(*envp, name, size) == 0 && (*envp)[size] == '=') {
            return *envp + size + 1;
        }
    }
    return NULL;
}

int ftl__program_check(const char *file)
{
    struct stat st;

    if (stat(file, &st) != 0) {
        return errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return EACCES;
    }
    return access(file, X_OK) == 0 ? 0 : errno;
}

/* Tries one directory of a PATH. */
static int check_in(const char *dir, size_t dir_size, const char *name, char *ret_file, size_t size)
{
    int n;

    if (dir_size == 0 || dir[0] != '/') {
        return ENOENT;
    }
    n = snprintf(ret_file, size, "%.*s/%s", (int)dir_size, dir, name);
    if (n < 0 || (size_t)n >= size) {
        return ENAMETOOLONG;
    }
    return ftl__program_check(ret_file);
}

static int search(const char *name, const char *path, char *ret_file, size_t size)
{
    int result = ENOENT;

    while (path != NULL) {
        const char *colon = strchrnul(path, ':');
        int rc = check_in(path, (size_t)(colon - path), name, ret_file, size);

        if (rc == 0) {
            return 0;
        }
        if (rc == EACCES) {
            result = EACCES; /* a later directory may still have it */
        }
        path = *colon == ':' ? colon + 1 : NULL;
    }
    return result;
}

int ftl__program_find(const char *name, const char *path, char *ret_file, size_t size)
{
    if (name[0] == '\0') {
        return ENOENT;
    }
    if (strchr(name, '/') == NULL) {
        return search(name, path, ret_file, size);
    }
    if (strlen(name) >= size) {
        return ENAMETOOLONG;
    }
    strcpy(ret_file, name);
    return 0;
}
