/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One pass from left to right over the text; each part is decoded into one block of memory, which
 * also holds the struct and is never larger than the text needs, so that there is one thing to free
 * and one thing to wipe. Pure and reentrant: any thread.
 *
 * It refuses what a person most likely did not mean: blanks and control characters, '#' (a fragment
 * means nothing in an address; in a password it must be written %23), a NUL by %00, a port of 0. It
 * does not resolve relative references, normalise paths or check that host names are well formed.
 */
#include "jobs/url.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/task.h>

struct block {
    struct ftl__url url;
    size_t size; /* of all of it, for the wipe */
    struct ftl__url_item items[];
};

struct parser {
    const char *at;     /* what has not been read yet, NUL-terminated */
    char *out;          /* where the next decoded text goes */
    const char *reason; /* why the text is no URL; NULL so far */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_scheme_char(char c)
{
    return is_alpha(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static void refuse(struct parser *parser, const char *reason)
{
    if (parser->reason == NULL)
        parser->reason = reason;
}

/* Appends the decoded stretch; the text stays where it is until the block is freed. */
static const char *take(struct parser *parser, const char *begin, const char *end)
{
    char *text = parser->out;
    for (const char *p = begin; p < end; p++) {
        char c = *p;
        if (c == '%') {
            int high = end - p > 2 ? hex_value(p[1]) : -1;
            int low = high >= 0 ? hex_value(p[2]) : -1;
            if (low < 0)
                refuse(parser, "'%' must be followed by two hexadecimal digits");
            else if (high == 0 && low == 0)
                refuse(parser, "%00 is not allowed");
            if (parser->reason != NULL)
                return "";
            c = (char)(high * 16 + low);
            p += 2;
        }
        *parser->out++ = c;
    }
    *parser->out++ = '\0';
    return text;
}

static const char *take_or_null(struct parser *parser, const char *begin, const char *end)
{
    return begin == end ? NULL : take(parser, begin, end);
}

static void parse_scheme(struct parser *parser, struct ftl__url *url)
{
    const char *end = parser->at;
    while (is_scheme_char(*end))
        end++;
    if (!is_alpha(*parser->at) || strncmp(end, "://", 3) != 0) {
        refuse(parser, "expected SCHEME://");
        return;
    }
    char *scheme = parser->out;
    url->scheme = take(parser, parser->at, end);
    for (char *c = scheme; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    parser->at = end + 3;
}

static void parse_userinfo(struct parser *parser, struct ftl__url *url, const char *end)
{
    const char *colon = memchr(parser->at, ':', (size_t)(end - parser->at));
    url->user = take_or_null(parser, parser->at, colon != NULL ? colon : end);
    if (colon != NULL)
        url->password = take(parser, colon + 1, end);
    parser->at = end + 1;
}

static void parse_port(struct parser *parser, struct ftl__url *url, const char *end)
{
    unsigned port = 0;
    const char *p = parser->at;
    while (p < end && is_digit(*p) && port <= UINT16_MAX)
        port = port * 10 + (unsigned)(*p++ - '0');
    if (p < end || port == 0 || port > UINT16_MAX)
        refuse(parser, "the port must be a number from 1 to 65535");
    else
        url->port = (uint16_t)port;
}

/* An IPv6 address is told from host:port by its brackets only. */
static void parse_bracketed(struct parser *parser, struct ftl__url *url, const char *end)
{
    const char *close = memchr(parser->at, ']', (size_t)(end - parser->at));
    if (close == NULL || close == parser->at + 1) {
        refuse(parser, "expected [IPv6 address]");
        return;
    }
    for (const char *p = parser->at + 1; p < close; p++)
        if (hex_value(*p) < 0 && *p != ':' && *p != '.')
            refuse(parser, "expected [IPv6 address]");
    url->host = take(parser, parser->at + 1, close);
    parser->at = close + 1;
    if (parser->at < end && *parser->at != ':')
        refuse(parser, "expected ':' or '/' after ']'");
}

static void parse_host(struct parser *parser, struct ftl__url *url, const char *end)
{
    if (*parser->at == '[') {
        parse_bracketed(parser, url, end);
        if (parser->reason != NULL)
            return;
    } else {
        const char *colon = memchr(parser->at, ':', (size_t)(end - parser->at));
        const char *host_end = colon != NULL ? colon : end;
        url->host = take_or_null(parser, parser->at, host_end);
        parser->at = host_end;
    }
    if (parser->at < end) {
        parser->at++; /* the colon */
        parse_port(parser, url, end);
    }
    parser->at = end;
}

static void parse_authority(struct parser *parser, struct ftl__url *url)
{
    const char *end = parser->at + strcspn(parser->at, "/?");
    const char *at_sign = NULL;
    for (const char *p = parser->at; p < end; p++)
        if (*p == '@')
            at_sign = p; /* the last one: people leave those in passwords as they are */
    if (at_sign != NULL)
        parse_userinfo(parser, url, at_sign);
    parse_host(parser, url, end);
}

static void parse_query(struct parser *parser, struct ftl__url *url, struct ftl__url_item *items)
{
    url->query = items;
    while (*parser->at != '\0') {
        parser->at++; /* '?' or '&' */
        const char *end = parser->at + strcspn(parser->at, "&");
        const char *equals = memchr(parser->at, '=', (size_t)(end - parser->at));
        if (end > parser->at) {
            struct ftl__url_item *item = &items[url->query_count++];
            item->name = take(parser, parser->at, equals != NULL ? equals : end);
            item->value = equals != NULL ? take(parser, equals + 1, end) : "";
        }
        parser->at = end;
    }
}

static void parse(struct parser *parser, struct block *block)
{
    struct ftl__url *url = &block->url;
    for (const char *p = parser->at; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            refuse(parser, "blanks and control characters must be written as %XX");
        if (*p == '#')
            refuse(parser, "'#' must be written as %23");
    }
    if (parser->reason == NULL)
        parse_scheme(parser, url);
    if (parser->reason == NULL)
        parse_authority(parser, url);
    if (parser->reason != NULL)
        return;
    const char *path_end = parser->at + strcspn(parser->at, "?");
    url->path = take(parser, parser->at, path_end);
    parser->at = path_end;
    parse_query(parser, url, block->items);
}

static size_t count_items(const char *text)
{
    size_t count = 0;
    for (const char *p = text; *p != '\0'; p++)
        count += *p == '?' || *p == '&';
    return count;
}

int ftl__url_parse(const char *text, struct ftl__url **ret_url, const char **ret_reason)
{
    ftl_assert(text != NULL);
    /* Decoding never lengthens; each part and each item's two texts end in a NUL. */
    size_t items = count_items(text);
    size_t text_size = strlen(text) + 5 + 2 * items;
    size_t size = sizeof(struct block) + items * sizeof(struct ftl__url_item) + text_size;
    struct block *block = calloc(1, size);
    if (block == NULL) {
        *ret_reason = "out of memory";
        return FTL_ENOMEM;
    }
    block->size = size;
    struct parser parser = {.at = text, .out = (char *)&block->items[items]};
    parse(&parser, block);
    if (parser.reason != NULL) {
        *ret_reason = parser.reason;
        ftl__url_free(&block->url);
        return FTL_EINVAL;
    }
    ftl_assert(parser.out <= (char *)block + size);
    *ret_url = &block->url;
    return 0;
}

void ftl__url_free(struct ftl__url *url)
{
    if (url == NULL)
        return;
    struct block *block = (struct block *)(void *)url; /* its first member */
    explicit_bzero(block, block->size);
    free(block);
}

const char *ftl__url_query(const struct ftl__url *url, const char *name)
{
    for (size_t i = 0; i < url->query_count; i++)
        if (strcmp(url->query[i].name, name) == 0)
            return url->query[i].value;
    return NULL;
}
