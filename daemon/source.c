/* SPDX-License-Identifier: MIT
 *
 * DESIGN. libconfig 1.5 reads 5000000000 as 705032704: only the suffix L makes an integer 64 bits
 * wide. A limit that is silently another one is worse than none, so the text is looked through
 * first, token by token, as libconfig's own scanner would see it: comments, strings, names,
 * numbers. A string without an end is found here too: libconfig would name the last line, and lose
 * memory. It checks nothing else; libconfig does. */
#include "daemon/source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* NULL: `settings` has the reason. Does not wait, as opening a FIFO would. */
static FILE *open_file(const struct ftl__settings *settings)
{
    struct stat st;
    int fd = open(settings->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *file = NULL;
    if (fd < 0 || fstat(fd, &st) != 0)
        ftl__settings_fail(settings, NULL, "%s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        ftl__settings_fail(settings, NULL, "is no regular file");
    else if ((file = fdopen(fd, "r")) == NULL)
        ftl__settings_fail(settings, NULL, "%s", strerror(errno));
    if (fd >= 0 && file == NULL)
        close(fd);
    return file;
}

/* What keeps it from being a text that libconfig can read, or NULL. */
static const char *find_fault(const char *text, size_t size)
{
    if (memchr(text, '\0', size) != NULL)
        return "has NUL bytes: it is no text";
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return "begins with a byte order mark: save it as UTF-8 without one";
    return NULL;
}

int ftl__source_read(const struct ftl__settings *settings, char **ret_text)
{
    int rc = 0;
    char *text = NULL;
    FILE *file = open_file(settings);
    if (file == NULL)
        return FTL_EINVAL;
    text = malloc(FTL__SOURCE_MAX + 2);
    if (text == NULL) {
        rc = ftl__settings_no_memory(settings);
        goto out;
    }
    size_t size = fread(text, 1, FTL__SOURCE_MAX + 1, file);
    if (ferror(file))
        rc = ftl__settings_fail(settings, NULL, "%s", strerror(errno));
    else if (size > FTL__SOURCE_MAX)
        rc = ftl__settings_fail(settings, NULL, "has more than %d bytes", FTL__SOURCE_MAX);
    else if (find_fault(text, size) != NULL)
        rc = ftl__settings_fail(settings, NULL, "%s", find_fault(text, size));
    else
        memcpy(text + size, "\n", 2); /* libconfig wants a comment's newline on the last line too */
out:
    fclose(file);
    if (rc == 0)
        *ret_text = text;
    else
        free(text);
    return rc;
}

/* ---- the look through -------------------------------------------------------------------- */

/* What follows the string at `at`; NULL if it has no end. */
static const char *skip_string(const char *at)
{
    for (at++; *at != '\0' && *at != '"'; at++)
        if (at[0] == '\\' && at[1] != '\0')
            at++;
    return *at == '"' ? at + 1 : NULL;
}

static const char *skip_comment(const char *at)
{
    if (at[0] == '/' && at[1] == '*') {
        const char *end = strstr(at + 2, "*/");
        return end != NULL ? end + 2 : at + strlen(at);
    }
    return at + strcspn(at, "\n");
}

static bool is_comment(const char *at)
{
    return at[0] == '#' || (at[0] == '/' && (at[1] == '/' || at[1] == '*'));
}

static bool is_name(int c)
{
    return isalnum(c) || c == '_' || c == '-' || c == '*';
}

#define FLOAT "0123456789.eE+-"

/* The end of the number at `at`; false if it is an integer that does not fit. */
static bool check_number(const char *at, const char **ret_end)
{
    bool hex = at[0] == '0' && (at[1] == 'x' || at[1] == 'X');
    const char *end = hex ? at + 2 : at;
    while (hex ? isxdigit((unsigned char)*end) : isdigit((unsigned char)*end))
        end++;
    *ret_end = end;
    if (!hex && (*end == '.' || *end == 'e' || *end == 'E')) {
        *ret_end = end + strspn(end, FLOAT);
        return true;
    }
    errno = 0;
    unsigned long long value = strtoull(at, NULL, hex ? 16 : 10);
    return errno == 0 && value <= (*end == 'L' ? LLONG_MAX : INT_MAX);
}

static int fail_at(const struct ftl__settings *settings, const char *text, const char *at,
                   const char *reason)
{
    unsigned line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    snprintf(settings->error, settings->error_size, "%s:%u: %s", settings->file, line, reason);
    return FTL_EINVAL;
}

int ftl__source_check(const struct ftl__settings *settings, const char *text)
{
    for (const char *at = text; *at != '\0';) {
        if (*at == '"') {
            const char *end = skip_string(at);
            if (end == NULL)
                return fail_at(settings, text, at, "the string has no end");
            at = end;
        } else if (is_comment(at)) {
            at = skip_comment(at);
        } else if (*at == '@') {
            return fail_at(settings, text, at, "@include is not supported");
        } else if (*at == '.') {
            at += strspn(at, FLOAT);
        } else if (isdigit((unsigned char)*at)) {
            if (!check_number(at, &at))
                return fail_at(settings, text, at, "the integer is too large");
        } else if (is_name((unsigned char)*at) && *at != '-') {
            while (is_name((unsigned char)*at))
                at++;
        } else {
            at++;
        }
    }
    return 0;
}
