#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A job as a shell script: counts the words of a file.
#
#     handlers = ( { class = "WordCount"; timeout = 10;
#                    command = [ "/usr/share/fettle/word_count.sh" ]; } );
#     redis-cli LPUSH queue:default '{"class":"WordCount","args":["/etc/services"]}'
#
# The job comes as one line of JSON on stdin. What is printed goes to the log under the job's id;
# the exit status says how it went: 0 done, 65 never again, 75 later, anything else failed.
set -eu

read -r job
# Good enough for one plain string; take jq(1), where it is installed, for anything else.
file=$(printf '%s\n' "$job" | sed -n 's/.*"args" *: *\["\([^"\\]*\)"\].*/\1/p')

if [ -z "$file" ]; then
    echo "expected [file]" >&2
    exit 65
fi
if [ ! -e "$file" ]; then
    echo "$file is not there yet" >&2
    exit 75
fi
echo "$FETTLE_JID (attempt $FETTLE_ATTEMPT): $(wc -w <"$file") words in $file"
