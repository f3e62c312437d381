/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Passwords and the like come from files, which are opened once and checked as they are
 * open. Used wherever the configuration is read; no state. What is in them appears in no error. */
#include "daemon/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fettle/error.h>

/* A secret that everybody can read is none. */
static int check(int fd, const char *file, char *reason, size_t reason_size)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(reason, reason_size, "%s is no regular file", file);
        return FTL_EINVAL;
    }
    if ((st.st_mode & 07) != 0) {
        snprintf(reason, reason_size,
                 "%s has mode %04o: others than its owner and group must have no access "
                 "(chmod 0640)",
                 file, (unsigned)(st.st_mode & 07777));
        return FTL_EINVAL;
    }
    return 0;
}

int ftl__secret_read(const char *file, char *text, size_t size, char *reason, size_t reason_size)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        snprintf(reason, reason_size, "%s: %s", file, strerror(errno));
        return errno == ENOENT ? FTL_ENOENT : FTL_EINVAL;
    }
    int rc = check(fd, file, reason, reason_size);
    ssize_t got = rc == 0 ? read(fd, text, size - 1) : 0;
    if (got < 0) {
        snprintf(reason, reason_size, "%s: %s", file, strerror(errno));
        rc = FTL_EINVAL;
    }
    text[got > 0 ? got : 0] = '\0';
    close(fd);
    return rc;
}
