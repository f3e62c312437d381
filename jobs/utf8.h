/* SPDX-License-Identifier: MIT
 *
 * UTF-8, one sequence at a time: as the Unicode standard has it (table 3-7), so without overlong
 * forms, surrogates and what lies beyond U+10FFFF. Pure, any thread. */
#ifndef FETTLE_JOBS_UTF8_H
#define FETTLE_JOBS_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The bytes (1 to 4) of the valid sequence at `text`, of which `left` ≥ 1 bytes remain; 0: none. */
size_t ftl__utf8_length(const char *text, size_t left);

/* Writes the sequence of a code point (U+FFFD in place of a surrogate or a number too large);
 * returns its length. */
size_t ftl__utf8_put(uint32_t code, char ret_bytes[4]);

#endif
