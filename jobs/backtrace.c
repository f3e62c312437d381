/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Three steps, each from one buffer into the next: lines → JSON, JSON → zlib, zlib → base64.
 * Dashboards undo them in reverse, and fail on anything else. Only jobs that ask for a backtrace
 * pay for it. */
#include "jobs/backtrace.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "jobs/json.h"

struct bytes {
    char *begin;
    size_t size;
};

/* How many of the lines fit, and how large they are together. */
static size_t measure(const char *const *lines, size_t count, size_t *ret_size)
{
    size_t size = strlen("[]");
    size_t i = 0;
    for (; i < count; i++) {
        size_t more = (i > 0) + ftl__json_encode(lines[i], strlen(lines[i]), 0, NULL);
        if (size + more > FTL__BACKTRACE_MAX)
            break;
        size += more;
    }
    *ret_size = size;
    return i;
}

static int to_json(const char *const *lines, size_t count, struct bytes *ret)
{
    size_t size;
    count = measure(lines, count, &size);
    char *text = malloc(size);
    if (text == NULL)
        return FTL_ENOMEM;
    char *at = text;
    *at++ = '[';
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            *at++ = ',';
        at += ftl__json_encode(lines[i], strlen(lines[i]), 0, at);
    }
    *at = ']';
    *ret = (struct bytes){text, size};
    return 0;
}

static int to_zlib(const struct bytes *json, struct bytes *ret)
{
    uLongf size = compressBound((uLong)json->size);
    Bytef *out = malloc(size);
    if (out == NULL)
        return FTL_ENOMEM;
    /* With room for the bound, memory is all that it can lack. */
    if (compress(out, &size, (const Bytef *)json->begin, (uLong)json->size) != Z_OK) {
        free(out);
        return FTL_ENOMEM;
    }
    *ret = (struct bytes){(char *)out, size};
    return 0;
}

static int to_base64(const struct bytes *data, struct bytes *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = (data->size + 2) / 3 * 4;
    char *out = malloc(size);
    if (out == NULL)
        return FTL_ENOMEM;
    char *at = out;
    for (size_t i = 0; i < data->size; i += 3) {
        size_t left = data->size - i;
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (k < left ? (unsigned char)data->begin[i + k] : 0);
        *at++ = digits[group >> 18];
        *at++ = digits[group >> 12 & 63];
        *at++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *at++ = left > 2 ? digits[group & 63] : '=';
    }
    *ret = (struct bytes){out, size};
    return 0;
}

int ftl__backtrace_encode(const char *const *lines, size_t count, char **ret_text, size_t *ret_size)
{
    struct bytes json = {NULL, 0}, packed = {NULL, 0}, text = {NULL, 0};
    int rc = to_json(lines, count, &json);
    if (rc == 0)
        rc = to_zlib(&json, &packed);
    if (rc == 0)
        rc = to_base64(&packed, &text);
    free(json.begin);
    free(packed.begin);
    if (rc == 0) {
        *ret_text = text.begin;
        *ret_size = text.size;
    }
    return rc;
}
