#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tools/embed.awk: every byte of a script is in the program, whatever its lines hold.
set -u
. "$SRCDIR/tests/lib/tap.sh"

# shellcheck disable=SC2086 # it may have arguments
command -v ${CC:-cc} >/dev/null 2>&1 || skip_all 'no compiler'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/nasty.lua" <<'END'
-- backslashes \ \\ \t "quotes" \" '&' && \& ??= ??/ %d %s é
return '\0' .. "a\nb"

	-- a tab, and an empty line before
END
printf 'return 1\n' >"$work/short.lua"
cat >"$work/main.c" <<'END'
#include <stdio.h>
#include <string.h>
#include "daemon/scripts.h"
int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < ftl__script_source_count; i++)
        if (strcmp(ftl__script_sources[i].name, argv[1]) == 0)
            fwrite(ftl__script_sources[i].text, 1, ftl__script_sources[i].size, stdout);
    return ftl__script_sources[ftl__script_source_count].name != NULL;
}
END
awk -f "$SRCDIR/tools/embed.awk" daemon/scripts.h "$work/nasty.lua" "$work/short.lua" >"$work/scripts.c"
${CC:-cc} -std=gnu11 -Wall -Wextra -Wpedantic -Werror -I"$SRCDIR" -o "$work/show" "$work/main.c" \
    "$work/scripts.c" 2>"$work/log"
ok $? 'the table compiles without a warning'
diag <"$work/log"
for name in nasty short; do
    "$work/show" $name >"$work/text" && cmp "$work/text" "$work/$name.lua" >"$work/log" 2>&1
    ok $? "$name.lua is there, byte for byte"
    diag <"$work/log"
done
done_testing
