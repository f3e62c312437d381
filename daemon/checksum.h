/* SPDX-License-Identifier: MIT
 *
 * A checksum of bytes in memory, by which chance damage is noticed; nobody's attack. Four words at
 * a time in lanes that do not wait for each other: some 10 ns for a usual job. */
#ifndef FETTLE_DAEMON_CHECKSUM_H
#define FETTLE_DAEMON_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t ftl__checksum(const char *bytes, size_t size)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lane[4] = {size, 1, 2, 3}, word[4];

    for (; size >= sizeof word; bytes += sizeof word, size -= sizeof word) {
        memcpy(word, bytes, sizeof word);
        for (int i = 0; i < 4; i++)
            lane[i] = (lane[i] ^ word[i]) * odd;
    }
    memset(word, 0, sizeof word);
    memcpy(word, bytes, size);
    for (int i = 0; i < 4; i++)
        lane[i] = (lane[i] ^ word[i]) * odd;
    return lane[0] ^ lane[1] >> 7 ^ lane[2] >> 13 ^ lane[3] >> 19;
}

#endif
