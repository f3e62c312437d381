/* SPDX-License-Identifier: MIT
 *
 * The Lua scripts that `fettle` sends, compiled in. scripts.c is made by the build
 * (tools/embed.awk) and has one entry for each file, named after it: claim.lua is "claim". */
#ifndef FETTLE_CLI_SCRIPTS_H
#define FETTLE_CLI_SCRIPTS_H

#include <stddef.h>

struct ftl__script_source {
    const char *name;
    const char *text; /* NUL-terminated */
    size_t size;
};

extern const struct ftl__script_source ftl__script_sources[]; /* ends with a NULL name */
extern const size_t ftl__script_source_count;

#endif
