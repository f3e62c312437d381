/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A message is measured, never taken apart: commands and replies have one form on the wire.
 * The proxy holds whole messages, so that it can cut one at any byte and knows what it was. A
 * script is known by the SHA1 that Redis returned when it was loaded through the proxy; its name is
 * in its second line. */
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHA_SIZE 40
#define SCRIPTS_MAX 32
#define WORDS 3

struct word {
    const char *bytes;
    size_t size;
};

static struct {
    char sha[SHA_SIZE + 1];
    char name[KIND_MAX];
} scripts[SCRIPTS_MAX];
static size_t script_count;

static void fail(const char *what)
{
    fprintf(stderr, "proxy: %s\n", what);
    exit(1);
}

/* The size of the line at `at`, its end included; 0: it is not all there. */
static size_t line_size(const char *bytes, size_t size, size_t at)
{
    const char *end = at < size ? memchr(bytes + at, '\n', size - at) : NULL;
    return end != NULL ? (size_t)(end - (bytes + at)) + 1 : 0;
}

size_t message_size(const char *bytes, size_t size)
{
    size_t at = 0, open = 1; /* values that are still to come */
    while (open > 0) {
        size_t line = line_size(bytes, size, at);
        if (line == 0)
            return 0;
        long count = strtol(bytes + at + 1, NULL, 10);
        char type = bytes[at];
        at += line;
        open--;
        if (type == '*' && count > 0)
            open += (size_t)count;
        else if (type == '$' && count >= 0)
            at += (size_t)count + 2;
        else if (strchr("*$+-:", type) == NULL)
            fail("this is no RESP");
        if (at > size)
            return 0;
    }
    return at;
}

/* The first words of a command; those that are not there are empty. */
static void first_words(const char *bytes, size_t size, struct word words[WORDS])
{
    size_t at = line_size(bytes, size, 0);
    for (size_t i = 0; i < WORDS; i++) {
        size_t line = line_size(bytes, size, at);
        words[i] = (struct word){"", 0};
        if (line == 0)
            continue;
        words[i].bytes = bytes + at + line;
        words[i].size = strtoul(bytes + at + 1, NULL, 10);
        at += line + words[i].size + 2;
    }
}

static int is_word(struct word word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.bytes, text, word.size) == 0;
}

/* "-- NAME: …" in the second line. */
static void load_kind(struct word text, char kind[KIND_MAX])
{
    const char *second = memchr(text.bytes, '\n', text.size);
    const char *colon = second != NULL
                            ? memchr(second, ':', text.size - (size_t)(second - text.bytes))
                            : NULL;
    if (colon == NULL || colon - second < 5)
        fail("a script without a name");
    snprintf(kind, KIND_MAX, "LOAD %.*s", (int)(colon - second - 4), second + 4);
}

static void script_kind(struct word sha, char kind[KIND_MAX])
{
    for (size_t i = 0; i < script_count; i++)
        if (is_word(sha, scripts[i].sha)) {
            memcpy(kind, scripts[i].name, KIND_MAX);
            return;
        }
    snprintf(kind, KIND_MAX, "EVALSHA");
}

/* The word of the command, and of a key of fettle's own what comes before its second colon. */
static void plain_kind(const struct word words[WORDS], char kind[KIND_MAX])
{
    struct word key = words[1];
    int size = 0;
    if (key.size > 7 && memcmp(key.bytes, "fettle:", 7) == 0) {
        const char *colon = memchr(key.bytes + 7, ':', key.size - 7);
        size = (int)(colon != NULL ? (size_t)(colon - key.bytes) : key.size);
    }
    snprintf(kind, KIND_MAX, "%.*s%s%.*s", (int)words[0].size, words[0].bytes,
             size > 0 ? " " : "", size, key.bytes);
}

void message_kind(const char *bytes, size_t size, char ret_kind[KIND_MAX])
{
    struct word words[WORDS];
    first_words(bytes, size, words);
    if (is_word(words[0], "EVALSHA"))
        script_kind(words[1], ret_kind);
    else if (is_word(words[0], "SCRIPT") && is_word(words[1], "LOAD"))
        load_kind(words[2], ret_kind);
    else
        plain_kind(words, ret_kind);
}

void message_learn(const char *kind, const char *reply, size_t size)
{
    size_t line = line_size(reply, size, 0);
    if (strncmp(kind, "LOAD ", 5) != 0 || reply[0] != '$' || size != line + SHA_SIZE + 2)
        return;
    for (size_t i = 0; i < script_count; i++)
        if (memcmp(scripts[i].sha, reply + line, SHA_SIZE) == 0)
            return;
    if (script_count == SCRIPTS_MAX)
        fail("too many scripts");
    memcpy(scripts[script_count].sha, reply + line, SHA_SIZE);
    snprintf(scripts[script_count].name, KIND_MAX, "%s", kind + 5);
    script_count++;
}
