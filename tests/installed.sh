#!/bin/sh
# SPDX-License-Identifier: MIT
#
# `make install`: what is there, that the programs are hardened (looked up in their ELF files, since a
# flag that configure accepted says nothing), that they know nothing of the build tree, and that a
# module can be built with what is installed and fettle.pc.
set -u
. "$SRCDIR/tests/lib/tap.sh"

command -v readelf >/dev/null 2>&1 || skip_all 'no readelf'
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
unset MAKEFLAGS MFLAGS MAKELEVEL

make -s -C "$BUILDDIR" install DESTDIR="$root" >"$root/log" 2>&1
status=$?
ok $status 'make install DESTDIR'
[ $status = 0 ] || diag <"$root/log"

# installed NAME: its path under the root.
installed()
{
    find "$root" -path "*/$1" | head -1
}

for name in sbin/fettled bin/fettle lib/libfettle.so.0 lib/fettle/hello.so include/fettle/module.h \
    include/fettle/task.h pkgconfig/fettle.pc system/fettled.service fettle/fettled.conf \
    man8/fettled.8 man5/fettled.conf.5 man1/fettle.1; do
    [ -n "$(installed "$name")" ]
    ok $? "$name is installed"
done

[ -z "$(installed 'faults.*')" ]
ok $? 'the module whose jobs do harm is not installed'

found=$(find "$root" -path '*/include/*' -name '*.h' -exec grep -lE 'include +"' {} +)
[ -z "$found" ]
ok $? 'installed headers include only installed headers'
printf '%s\n' "$found" | diag

found=$(find "$root" -name '*.la' -path '*/lib/fettle/*')
[ -z "$found" ]
ok $? 'no .la beside the modules'

# ---- hardening -------------------------------------------------------------------------------------

sanitizer=$(sed -n 's/^#define FTL_SANITIZER "\(.*\)"/\1/p' "$BUILDDIR/config.h")

# has FILE READELF-OPTION PATTERN
has()
{
    readelf -W "$2" "$1" 2>/dev/null | grep -qE "$3"
}

hardened()
{
    file=$1
    name=${file##*/}
    has "$file" -l 'GNU_RELRO' && has "$file" -d 'BIND_NOW|FLAGS_1.*NOW'
    ok $? "$name: full RELRO, bound at start"
    has "$file" -l 'GNU_STACK.* RW ' && ! has "$file" -l 'GNU_STACK.* RWE '
    ok $? "$name: no executable stack"
    ! has "$file" -l 'LOAD.* RWE ' && ! has "$file" -d 'TEXTREL'
    ok $? "$name: nothing both writable and executable, no text relocations"
    ! readelf -Wd "$file" | grep -E 'R(UN)?PATH' | grep -qF "$BUILDDIR"
    ok $? "$name: no path into the build tree"
    has "$file" --dyn-syms '__stack_chk_fail'
    ok $? "$name: stack protector"
    if [ "$sanitizer" = none ]; then
        has "$file" --dyn-syms '__[a-z]+_chk(@|$)'
        ok $? "$name: FORTIFY"
    else
        skip "$name: FORTIFY" "built with $sanitizer"
    fi
    if readelf --debug-dump=info "$file" 2>/dev/null | grep 'DW_AT_producer.*GNU C[0-9]' >"$root/producers" &&
        [ -s "$root/producers" ]; then
        ! grep -vq -- '-fstack-clash-protection' "$root/producers"
        ok $? "$name: stack clash protection in each object"
    else
        skip "$name: stack clash protection in each object" 'the objects do not tell how they were built'
    fi
}

for name in sbin/fettled bin/fettle lib/libfettle.so.0; do
    file=$(installed "$name")
    [ -z "$file" ] || hardened "$file"
done
for name in sbin/fettled bin/fettle; do
    file=$(installed "$name")
    [ -n "$file" ] && has "$file" -h 'Type: *DYN' && has "$file" -d 'Flags:.*PIE'
    ok $? "${name#*/}: position independent"
    [ -n "$file" ] && has "$file" -d 'NEEDED.*libfettle\.so\.0'
    ok $? "${name#*/}: uses the shared library"
done

# Without its protections a program is recognised as such.
if printf 'int main(void) { return 0; }\n' >"$root/soft.c" &&
    ${CC:-cc} -no-pie -fno-stack-protector -Wl,-z,norelro -Wl,-z,lazy -Wl,-z,execstack \
        -o "$root/soft" "$root/soft.c" 2>/dev/null; then
    ! has "$root/soft" -l 'GNU_RELRO' && ! has "$root/soft" -d 'FLAGS.*(NOW|PIE)' &&
        ! has "$root/soft" --dyn-syms '__stack_chk_fail' && has "$root/soft" -l 'GNU_STACK.* RWE '
    ok $? 'a program without protection is recognised'
else
    skip 'a program without protection is recognised' 'no compiler takes the flags'
fi

# ---- exports and a module of one's own -----------------------------------------------------------

library=$(installed lib/libfettle.so.0)
found=$(readelf -W --dyn-syms "$library" | awk '$7 != "UND" && $8 ~ /@/ { print $8 }' |
    grep -vE '^ftl_[a-z0-9_]+@+FETTLE_0$|^ftl__[a-z0-9_]+@+FETTLE_PRIVATE$|^FETTLE_')
[ -z "$found" ]
ok $? 'libfettle exports nothing but its own names'
printf '%s\n' "$found" | diag

cat >"$root/own.c" <<'END'
#include <fettle/module.h>
static int own(struct ftl_run *run)
{
    ftl_run_log(run, "%s", ftl_run_jid(run));
    return ftl_sleep(FTL_MS);
}
FTL_MODULE("own", {"Own", own});
END
pc=$(dirname "$(installed pkgconfig/fettle.pc)")
fettle_pc()
{
    PKG_CONFIG_PATH=$pc pkg-config "$@" fettle 2>/dev/null
}
# shellcheck disable=SC2046
${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -shared -fPIC -o "$root/own.so" "$root/own.c" \
    $(fettle_pc --define-variable=prefix="$root$(fettle_pc --variable=prefix)" --cflags --libs) \
    >"$root/log" 2>&1
status=$?
ok $status 'a module builds with fettle.pc and the installed headers'
[ $status = 0 ] || diag <"$root/log"

# A program that uses the runtime, from its one file and what fettle.pc says; no build tree in sight.
[ "$sanitizer" = none ] && sanitize='' || sanitize=-fsanitize=$sanitizer
mkdir "$root/elsewhere" && cp "$SRCDIR/examples/runtime/fan_out.c" "$root/elsewhere" &&
    cd "$root/elsewhere" &&
    # shellcheck disable=SC2046,SC2086
    ${CC:-cc} -std=gnu11 $sanitize -Wall -Wextra -Werror -o fan_out fan_out.c \
        $(fettle_pc --define-variable=prefix="$root$(fettle_pc --variable=prefix)" --cflags --libs) \
        >"$root/log" 2>&1 &&
    LD_LIBRARY_PATH=$(dirname "$library") ./fan_out >"$root/out" 2>>"$root/log" &&
    [ "$(cat "$root/out")" = '100 squares add up to 338350' ]
status=$?
ok $status 'a program of tasks builds with fettle.pc alone, and runs'
[ $status = 0 ] || diag <"$root/log"

done_testing
