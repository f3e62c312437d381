/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Job data is foreign: it is never printed as it is. Both ways out go through these
 * functions, character by character. */
#include "cli/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "jobs/utf8.h"

/* C0, DEL, and C1 (0xc2 0x80 to 0xc2 0x9f). */
static bool is_control(const unsigned char *text, size_t length)
{
    return text[0] < ' ' || text[0] == 0x7f || (length == 2 && text[0] == 0xc2 && text[1] < 0xa0);
}

/* The bytes of the character at `text`; one if it is none. */
static size_t step(const char *text, size_t left)
{
    size_t length = ftl__utf8_length(text, left);
    return length > 0 ? length : 1;
}

static void print_one(const char *text, size_t length)
{
    if (ftl__utf8_length(text, length) == 0 || is_control((const unsigned char *)text, length))
        putchar('?');
    else
        fwrite(text, 1, length, stdout);
}

void ftl__text_print(const char *text, size_t size, int width, int most)
{
    int printed = 0;
    for (size_t at = 0; at < size && (most == 0 || printed < most); printed++) {
        size_t length = step(text + at, size - at);
        if (most != 0 && printed == most - 1 && at + length < size)
            fputs("…", stdout);
        else
            print_one(text + at, length);
        at += length;
    }
    for (; printed < width; printed++)
        putchar(' ');
}

static bool is_valid(const char *text, bool controls)
{
    size_t size = strlen(text);
    for (size_t at = 0, length; at < size; at += length) {
        length = ftl__utf8_length(text + at, size - at);
        if (length == 0 || (!controls && is_control((const unsigned char *)text + at, length)))
            return false;
    }
    return true;
}

bool ftl__text_is_utf8(const char *text)
{
    return is_valid(text, true);
}

bool ftl__text_is_plain(const char *text)
{
    return is_valid(text, false);
}

json_t *ftl__text_json(const char *text, size_t size)
{
    char *valid = malloc(3 * size + 1); /* U+FFFD has three bytes */
    size_t used = 0;
    if (valid == NULL)
        return NULL;
    for (size_t at = 0; at < size;) {
        size_t length = ftl__utf8_length(text + at, size - at);
        if (length == 0) {
            used += ftl__utf8_put(0xfffd, valid + used);
            at++;
        }
        for (; length > 0; length--)
            valid[used++] = text[at++];
    }
    json_t *made = json_stringn_nocheck(valid, used);
    free(valid);
    return made;
}

int ftl__text_dump(json_t *value)
{
    if (value == NULL || json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        json_decref(value);
        return FTL_ENOMEM;
    }
    putchar('\n');
    json_decref(value);
    return 0;
}
