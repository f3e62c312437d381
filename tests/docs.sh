#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Holds the documents to the code: docs/log.md and daemon/events.def name the same events with the same
# levels, every event is emitted somewhere, every field that is logged is explained, and every key of the
# configuration has its place in fettled.conf(5). The man pages are clean. Each rule is also tried on a
# planted violation.
set -u
. "${SRCDIR:=$(cd "$(dirname "$0")/.." && pwd)}/tests/lib/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "name level" of each event in the code, and in the document.
coded_events()
{
    sed -n 's/^X([A-Z_]*, "\([^"]*\)", FTL__\([A-Z]*\))$/\1 \2/p' "$1/daemon/events.def" |
        tr '[:upper:]' '[:lower:]' | sort
}

told_events()
{
    sed -n 's/^### \([^ ]*\) (\([a-z]*\))$/\1 \2/p' "$1/docs/log.md" | sort
}

event_lists()
{
    coded_events "$1" > "$work/coded"
    told_events "$1" > "$work/told"
    diff "$work/coded" "$work/told"
}

# Events without a line of fields right below their name.
events_without_fields()
{
    awk '/^### / { name = $2; getline; if ($0 !~ /^Fields: `/) print name }' "$1/docs/log.md"
}

unused_events()
{
    sed -n 's/^X(\([A-Z_]*\),.*/\1/p' "$1/daemon/events.def" | while read -r event; do
        grep -qE "FTL__EV_$event\\b" "$1"/daemon/*.c || echo "$event"
    done
}

untold_fields()
{
    grep -ohE 'FTL__(STR|BYTES|INT|UINT|REAL|BOOL)\("[a-z_]+"' "$1"/daemon/*.c |
        sed 's/.*"\(.*\)"/\1/' | sort -u | while read -r field; do
        grep -q "\`$field\`" "$1/docs/log.md" || echo "$field"
    done
}

# Fields that are given to an event by name, but are not in its list.
foreign_fields()
{
    cat "$1/daemon/events.def" "$1/docs/log.md" "$1"/daemon/*.c | awk '
        /^X\(/ { split($0, part, /[^A-Za-z_.]+/); name[part[2]] = part[3]; next }
        /^### / { event = $2; next }
        /^Fields: / { fields[event] = $0; next }
        /ftl__log\(FTL__EV_/ { call = "" }
        { call = call $0 }
        /;/ && call ~ /ftl__log\(FTL__EV_/ {
            id = call; sub(/.*ftl__log\(FTL__EV_/, "", id); sub(/[^A-Z_].*/, "", id)
            while (match(call, /FTL__(STR|BYTES|INT|UINT|REAL|BOOL)\("[a-z_]+"/)) {
                field = substr(call, RSTART, RLENGTH); call = substr(call, RSTART + RLENGTH)
                sub(/.*\("/, "", field); sub(/"/, "", field)
                if (index(fields[name[id]], "`" field "`") == 0) print name[id] ": " field
            }
            call = ""
        }'
}

# The tables of daemon/config.c and daemon/handler_keys.c against the tags of the man page.
coded_keys()
{
    grep -hv FTL__KEY_REFUSED "$1/daemon/config.c" "$1/daemon/handler_keys.c" |
        sed -n 's/^    {"\([a-z_]*\)", FTL__KEY_.*/\1/p' | sort -u
}

told_keys()
{
    sed -n 's/^\.It Ic \([a-z_]*\).*/\1/p' "$1/docs/man/fettled.conf.5" | sort -u
}

key_lists()
{
    coded_keys "$1" > "$work/coded"
    told_keys "$1" > "$work/told"
    diff "$work/coded" "$work/told"
}

# holds RULE NAME: nothing comes out of the rule.
holds()
{
    found=$($1 "$SRCDIR")
    [ -z "$found" ]
    ok $? "$2"
    [ -z "$found" ] || printf '%s\n' "$found" | diag
}

# finds RULE WHAT: the rule sees the violation planted in $work/tree.
finds()
{
    [ -n "$($1 "$work/tree")" ]
    ok $? "$1 finds $2"
}

# plant: a copy of what the rules look at.
plant()
{
    rm -rf "$work/tree"
    mkdir -p "$work/tree/daemon" "$work/tree/docs/man"
    cp "$SRCDIR"/daemon/*.c "$SRCDIR/daemon/events.def" "$work/tree/daemon"
    cp "$SRCDIR/docs/log.md" "$work/tree/docs"
    cp "$SRCDIR/docs/man/fettled.conf.5" "$work/tree/docs/man"
}

[ "$(coded_events "$SRCDIR" | wc -l)" -gt 20 ] && [ "$(coded_keys "$SRCDIR" | wc -l)" -gt 20 ]
ok $? "the lists are found"
holds event_lists "docs/log.md and events.def agree"
holds events_without_fields "each event has its fields"
holds unused_events "each event is emitted"
holds untold_fields "each field is explained"
holds foreign_fields "each event has only its own fields"
holds key_lists "fettled.conf(5) and the tables have the same keys"

plant
echo 'X(A_B, "a.b", FTL__INFO)' >> "$work/tree/daemon/events.def"
finds event_lists "an event without a section"
finds unused_events "an event that nobody emits"
plant
printf '### a.b (info)\n\nText.\n' >> "$work/tree/docs/log.md"
finds event_lists "a section without an event"
finds events_without_fields "a section without fields"
plant
sed -i 's/^### job.done (info)/### job.done (debug)/' "$work/tree/docs/log.md"
finds event_lists "another level"
plant
echo 'FTL__STR("mystery", x)' >> "$work/tree/daemon/log.c"
finds untold_fields "a field that is not explained"
plant
printf 'ftl__log(FTL__EV_JOB_DONE,\n FTL__STR("backtrace", x));\n' >> "$work/tree/daemon/log.c"
finds foreign_fields "a field of another event"
plant
echo '    {"mystery", FTL__KEY_TEXT},' >> "$work/tree/daemon/config.c"
finds key_lists "a key that is not explained"
plant
echo '.It Ic mystery' >> "$work/tree/docs/man/fettled.conf.5"
finds key_lists "a key that does not exist"

for page in "$SRCDIR"/docs/man/*.[158]; do
    name="$(basename "$page") is clean"
    if ! command -v mandoc > /dev/null; then
        skip "$name" "no mandoc"
        continue
    fi
    # Whether other pages are installed here says nothing about this one.
    found=$(mandoc -Tlint "$page" 2>&1 | grep -vE 'referenced manual not found|mandoc\.db lacks')
    [ -z "$found" ]
    ok $? "$name"
    [ -z "$found" ] || printf '%s\n' "$found" | diag
done
done_testing
