/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * JSON strings in and out of their quotes, one character at a time: names, classes and error
 * messages, nothing that is on the way of every job. Decoding trusts that the reader has validated
 * the text; encoding trusts nothing. Pure; allocates nothing. */
#include "jobs/json.h"

#include <string.h>

#include <fettle/task.h>

#include "jobs/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* The four hex digits at `p`. */
static uint32_t hex4(const char *p)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t c = (unsigned char)p[i];
        value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static uint32_t simple_escape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return (unsigned char)c; /* quote, backslash, slash */
    }
}

/* The code point of the escape at `*p`, which is moved behind it; two halves make one. */
static uint32_t take_escape(const char **p, const char *end)
{
    if ((*p)[1] != 'u') {
        uint32_t code = simple_escape((*p)[1]);
        *p += 2;
        return code;
    }
    uint32_t code = hex4(*p + 2);
    *p += 6;
    if (code < 0xd800 || code > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return code;
    uint32_t low = hex4(*p + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return code;
    *p += 6;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

size_t ftl__json_decode(const char *text, size_t size, char *buf, size_t buf_size)
{
    ftl_assert(buf_size > 0);
    size_t length = 0;
    const char *end = text + size;
    for (const char *p = text; p < end;) {
        char escape[4];
        const char *bytes = p;
        size_t count;
        if (*p == '\\') {
            bytes = escape;
            count = ftl__utf8_put(take_escape(&p, end), escape);
        } else {
            count = ftl__utf8_length(p, (size_t)(end - p));
            ftl_assert(count > 0); /* the reader saw to it */
            p += count;
        }
        if (count >= buf_size - length)
            break;
        memcpy(buf + length, bytes, count);
        length += count;
    }
    buf[length] = '\0';
    return length;
}

/* ---- encoding --------------------------------------------------------------------------- */

/* The escape of an ASCII character, or 0 if it stands for itself. */
static size_t escape(unsigned char c, char ret_text[6])
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    ret_text[0] = '\\';
    if (name != NULL) {
        ret_text[1] = letters[name - names];
        return 2;
    }
    if (c >= ' ')
        return 0;
    memcpy(ret_text + 1, "u00", 3);
    ret_text[4] = hex[c >> 4];
    ret_text[5] = hex[c & 15];
    return 6;
}

static size_t put(char *buf, size_t at, const char *bytes, size_t size)
{
    if (buf != NULL)
        memcpy(buf + at, bytes, size);
    return at + size;
}

size_t ftl__json_encode(const char *text, size_t size, size_t max_chars, char *buf)
{
    const char *end = text + size;
    size_t chars = 0;
    size_t at = put(buf, 0, "\"", 1);
    for (const char *p = text; p < end && (max_chars == 0 || chars < max_chars); chars++) {
        char escaped[6];
        size_t count = ftl__utf8_length(p, (size_t)(end - p));
        size_t escape_size = count == 1 ? escape((unsigned char)*p, escaped) : 0;
        if (count == 0)
            at = put(buf, at, REPLACEMENT, strlen(REPLACEMENT));
        else if (escape_size > 0)
            at = put(buf, at, escaped, escape_size);
        else
            at = put(buf, at, p, count);
        p += count > 0 ? count : 1;
    }
    return put(buf, at, "\"", 1);
}
