/* SPDX-License-Identifier: MIT
 *
 * DESIGN. One pass over the text, one character at a time: decode UTF-8, decide whether it is
 * printable, write it or its escape, stop where the room ends. Room for the closing quote and the
 * tail of the line is set aside from the start, so that ending a line cannot fail. No allocation,
 * no state but the line's; any thread. It knows nothing of levels, events and files. */
#include "daemon/line.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "jobs/utf8.h"

/* What values may fill: one byte for a closing quote and the tail stay free. */
#define ROOM (FTL__LINE_MAX - FTL__LINE_TAIL - 1)

void ftl__line_clear(struct ftl__line *line)
{
    line->size = 0;
    line->truncated = false;
}

static bool append(struct ftl__line *line, const char *bytes, size_t size)
{
    if (line->truncated || size > ROOM - line->size) {
        line->truncated = true;
        return false;
    }
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
    return true;
}

void ftl__line_raw(struct ftl__line *line, const char *bytes, size_t size)
{
    append(line, bytes, size);
}

/* Decodes the character at `text`: its length, or 0 if no valid one begins there. */
static size_t decode(const unsigned char *text, size_t size, uint32_t *ret_char)
{
    size_t length = ftl__utf8_length((const char *)text, size);
    if (length <= 1) {
        *ret_char = text[0];
        return length;
    }
    uint32_t c = text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        c = c << 6 | (text[i] & 0x3f);
    *ret_char = c;
    return length;
}

/* Not: controls, line and paragraph separators, and marks that turn the direction of what follows,
 * with which a job could make a line look like another one. */
static bool printable(uint32_t c)
{
    return c >= 0x20 && !(c >= 0x7f && c < 0xa0) && !(c >= 0x2028 && c <= 0x202e) &&
           !(c >= 0x2066 && c <= 0x2069) && c != 0x200e && c != 0x200f && c != 0xfeff &&
           (c & 0xfffe) != 0xfffe;
}

static size_t escape_logfmt(const unsigned char *text, size_t length, char out[32])
{
    switch (text[0]) {
    case '"':
        memcpy(out, "\\\"", 2);
        return 2;
    case '\\':
        memcpy(out, "\\\\", 2);
        return 2;
    case '\n':
        memcpy(out, "\\n", 2);
        return 2;
    case '\r':
        memcpy(out, "\\r", 2);
        return 2;
    case '\t':
        memcpy(out, "\\t", 2);
        return 2;
    default:
        for (size_t i = 0; i < length; i++)
            snprintf(out + 4 * i, 5, "\\x%02x", text[i]);
        return 4 * length;
    }
}

static size_t escape_json(uint32_t c, char out[32])
{
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c == '\n' || c == '\r' || c == '\t') {
        out[0] = '\\';
        out[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
        return 2;
    }
    if (c < 0x10000)
        return (size_t)snprintf(out, 32, "\\u%04x", c);
    c -= 0x10000;
    return (size_t)snprintf(out, 32, "\\u%04x\\u%04x", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
}

/* Writes the character at `text` or its escape. Returns how many bytes of the text it took, 0 if
 * the room has ended. */
static size_t put(struct ftl__line *line, const unsigned char *text, size_t size, bool json)
{
    uint32_t c = 0;
    size_t length = decode(text, size, &c);
    if (length > 0 && printable(c) && c != '"' && c != '\\')
        return append(line, (const char *)text, length) ? length : 0;

    size_t taken = length > 0 ? length : 1;
    char out[32];
    size_t out_size = !json        ? escape_logfmt(text, taken, out)
                      : length > 0 ? escape_json(c, out)
                                   : escape_json(0xfffd, out);
    return append(line, out, out_size) ? taken : 0;
}

static void quoted(struct ftl__line *line, const char *text, size_t size, bool json)
{
    const unsigned char *at = (const unsigned char *)text;
    if (!append(line, "\"", 1))
        return;
    for (size_t taken; size > 0; at += taken, size -= taken)
        if ((taken = put(line, at, size, json)) == 0)
            break;
    /* After a cut nothing is added but this, for which a byte was set aside. */
    if (!append(line, "\"", 1))
        line->bytes[line->size++] = '"';
}

/* A logfmt value stands bare if nothing in it can be taken for something else. */
static bool bare(const unsigned char *text, size_t size)
{
    if (size == 0)
        return false;
    for (size_t at = 0, length; at < size; at += length) {
        uint32_t c;
        if ((length = decode(text + at, size - at, &c)) == 0 || !printable(c) || c == ' ' ||
            c == '"' || c == '\\' || c == '=')
            return false;
    }
    return true;
}

void ftl__line_logfmt(struct ftl__line *line, const char *text, size_t size)
{
    /* A bare value is not cut: without quotes nobody would see where. */
    if (!line->truncated && size <= ROOM - line->size && bare((const unsigned char *)text, size))
        append(line, text, size);
    else
        quoted(line, text, size, false);
}

void ftl__line_json(struct ftl__line *line, const char *text, size_t size)
{
    quoted(line, text, size, true);
}

void ftl__line_end(struct ftl__line *line, const char *tail)
{
    size_t size = strlen(tail);
    if (size > FTL__LINE_TAIL - 1)
        size = FTL__LINE_TAIL - 1;
    memcpy(line->bytes + line->size, tail, size);
    line->size += size;
    line->bytes[line->size++] = '\n';
}
