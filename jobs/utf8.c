/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The one place that knows UTF-8; scan, decoding, encoding and cutting all ask here. It is not
 * tuned for long stretches: callers skip ASCII by themselves. */
#include "jobs/utf8.h"

#include <fettle/task.h>

/* Which second bytes a lead byte allows; all further ones are 80 to BF. */
static size_t classify(unsigned char lead, unsigned char *ret_low, unsigned char *ret_high)
{
    *ret_low = 0x80;
    *ret_high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0)
            *ret_low = 0xa0; /* below: overlong */
        if (lead == 0xed)
            *ret_high = 0x9f; /* above: surrogates */
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0)
            *ret_low = 0x90; /* below: overlong */
        if (lead == 0xf4)
            *ret_high = 0x8f; /* above: beyond U+10FFFF */
        return 4;
    }
    return 0;
}

size_t ftl__utf8_length(const char *text, size_t left)
{
    ftl_assert(left >= 1);
    const unsigned char *bytes = (const unsigned char *)text;
    if (bytes[0] < 0x80)
        return 1;
    unsigned char low, high;
    size_t length = classify(bytes[0], &low, &high);
    if (length == 0 || length > left || bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t ftl__utf8_put(uint32_t code, char ret_bytes[4])
{
    if ((code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
        code = 0xfffd;
    if (code < 0x80) {
        ret_bytes[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        ret_bytes[0] = (char)(0xc0 | code >> 6);
        ret_bytes[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        ret_bytes[0] = (char)(0xe0 | code >> 12);
        ret_bytes[1] = (char)(0x80 | (code >> 6 & 0x3f));
        ret_bytes[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    ret_bytes[0] = (char)(0xf0 | code >> 18);
    ret_bytes[1] = (char)(0x80 | (code >> 12 & 0x3f));
    ret_bytes[2] = (char)(0x80 | (code >> 6 & 0x3f));
    ret_bytes[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}
