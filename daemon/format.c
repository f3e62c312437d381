/* SPDX-License-Identifier: MIT
 *
 * DESIGN: a file of its own, so that tests can link the release after this one
 * (tests/fault/next_format.c). A release that changes the format reads the one before it, too: what
 * a daemon that was not upgraded yet has left is reaped by those that were. */
#include "daemon/format.h"

#include <string.h>

const char ftl__format_own[] = "1";

bool ftl__format_is_known(const char *format, size_t size)
{
    return size == strlen(ftl__format_own) && memcmp(format, ftl__format_own, size) == 0;
}
