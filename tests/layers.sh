#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Holds the code to its layers: runtime/ includes nothing of ours outside runtime/, jobs/ includes
# runtime/ and jobs/, cli/ all but daemon/, nobody but daemon/ and the tests includes daemon/; one
# thread-local in one file of runtime/; libraries do not log. Each rule is also tried on a planted
# violation.
set -u
. "${SRCDIR:=$(cd "$(dirname "$0")/.." && pwd)}/tests/lib/tap.sh"

# The installed headers of the runtime: runtime_headers in its makefile, "channel|error|…".
public=$(awk '/^runtime_headers/ { on = 1; next } !NF { on = 0 } on { print $1 }' \
    "$SRCDIR/runtime/Makefile.inc" | sed 's|.*/||; s|\.h||' | paste -sd '|')

# sources FOLDER: its C files, headers and assembly.
sources()
{
    find "$1" -type f \( -name '*.[chS]' -o -name '*.def' \) | sort
}

# includes_outside FOLDER PATTERN: includes in FOLDER of ours that PATTERN does not allow.
includes_outside()
{
    sources "$1" | xargs grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*("|<fettle/)' /dev/null |
        grep -vE "include[[:space:]]*($2)"
}

runtime_includes()
{
    includes_outside "$1/runtime" "\"runtime/|\"config\.h\"|<fettle/($public)\.h>"
}

jobs_includes()
{
    includes_outside "$1/jobs" "\"(runtime|jobs)/|\"config\.h\"|<fettle/($public|module)\.h>"
}

cli_includes()
{
    includes_outside "$1/cli" "\"(runtime|jobs|cli)/|\"config\.h\"|<fettle/"
}

daemon_includes()
{
    includes_outside "$1/daemon" "\"(runtime|jobs|daemon)/|\"config\.h\"|<fettle/"
}

examples_includes()
{
    includes_outside "$1/examples" "<fettle/"
}

# Includes by a path relative to the file, which the other rules would not see through.
relative_includes()
{
    sources "$1" | xargs grep -nHE 'include[[:space:]]*"(\.|[a-z_]+\.h")' /dev/null |
        grep -vE '"config\.h"|/tests/|/bench/'
}

# The files of runtime/ with a thread-local, if they are not exactly one.
thread_locals()
{
    files=$(sources "$1/runtime" |
        xargs grep -HE '^[^*]*\b(__thread|_Thread_local|thread_local)\b' /dev/null | cut -d: -f1 | sort -u)
    [ "$(printf '%s\n' "$files" | grep -c .)" = 1 ] || printf 'in: %s\n' "${files:-nowhere}"
}

# Output of the library to stdout or stderr, except right before it ends the process (abort() within
# eight lines), where a message has nobody else to go to, and for the documented places: the record of a crash, and the panic hook of a
# runtime that was started without one (runtime/runtime.h).
documented='runtime/runtime\.c:[0-9]+: .*"task %s panicked|runtime/crash\.c:[0-9]+: .*write\(STDERR_FILENO, line'
library_output()
{
    for file in $(sources "$1/runtime") $(sources "$1/jobs"); do
        awk -v file="$file" '
            function report() { for (i = 1; i <= n; i++) print held[i]; n = 0 }
            n > 0 && FNR > last + 8 { report() }
            /(^|[^a-z_])abort\(\);/ { n = 0 }
            /^ *(\*|\/\*)/ { next }
            /(^|[^a-z_])(v?fprintf|fputs|fwrite|fputc|putc)[^;]*std(err|out)/ ||
            /(^|[^a-z_])(v?printf|puts|putchar|perror|psignal|v?warnx?|v?errx?) ?\(/ ||
            /(^|[^a-z_])(write|v?dprintf) ?\( ?(1|2|STD)/ {
                held[++n] = file ":" FNR ": " $0
                last = FNR
            }
            END { report() }' "$file"
    done | grep -vE "$documented"
}

# Sources that no Makefile.inc names: they would be missing from a release.
unlisted()
{
    for folder in runtime jobs daemon cli tests bench examples; do
        [ ! -d "$1/$folder" ] || sources "$1/$folder"
    done | while read -r file; do
        name=${file#"$1"/}
        # A program of one source is named without its suffix.
        find "$1" -name Makefile.inc -exec \
            grep -qE "(^|[[:space:]=])${name%.*}(\.${name##*.})?([[:space:]]|\$)" {} + || echo "$name"
    done
}

# expect_none RULE NAME: the rule finds nothing in the project.
expect_none()
{
    found=$("$1" "$SRCDIR")
    [ -z "$found" ]
    ok $? "$2"
    [ -z "$found" ] || printf '%s\n' "$found" | diag
}

# plant RULE FILE LINE: the rule finds LINE when it stands in FILE, and not when it does not.
plant()
{
    rm -rf "$planted"
    mkdir -p "$planted/runtime" "$planted/jobs" "$planted/cli" "$planted/daemon" "$planted/examples"
    echo 'static __thread int current;' >"$planted/runtime/current.c"
    echo 'sources = runtime/current.c' >"$planted/Makefile.inc"
    before=$("$1" "$planted")
    printf '%s\n' "$3" >>"$planted/$2"
    [ -z "$before" ] && [ -n "$("$1" "$planted")" ]
    ok $? "a violation is found: $2: $3"
}

planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT

expect_none runtime_includes 'runtime/ includes only runtime/'
expect_none jobs_includes 'jobs/ includes only runtime/ and jobs/'
expect_none cli_includes 'cli/ includes only runtime/, jobs/ and cli/'
expect_none daemon_includes 'daemon/ includes only runtime/, jobs/ and daemon/'
expect_none examples_includes 'examples/ include only public headers'
expect_none relative_includes 'ours are included by their path from the top'
expect_none thread_locals 'one file of runtime/ has the thread-local'
expect_none library_output 'the library prints nothing unless it ends the process'
expect_none unlisted 'every source stands in a Makefile.inc'

plant runtime_includes runtime/a.c '#include "jobs/job.h"'
plant runtime_includes runtime/a.h '# include <fettle/module.h>'
plant jobs_includes jobs/a.c '#include "daemon/log.h"'
plant cli_includes cli/a.c '#include "daemon/keys.h"'
plant daemon_includes daemon/a.c '#include "cli/output.h"'
plant examples_includes examples/a.c '#include "runtime/list.h"'
plant relative_includes jobs/a.c '#include "../daemon/log.h"'
plant thread_locals runtime/a.c 'static _Thread_local int more;'
plant library_output jobs/a.c '    fprintf(stderr, "hello");'
plant unlisted jobs/forgotten.c 'int forgotten;'

done_testing
