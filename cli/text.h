/* SPDX-License-Identifier: MIT
 *
 * Texts from Redis on their way to a terminal or into JSON: they may hold any bytes. */
#ifndef FETTLE_CLI_TEXT_H
#define FETTLE_CLI_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* On stdout, left-aligned in `width` characters (more if it is longer, at most `most` if that is not
 * 0: then the last one says that something is missing); controls and what is not UTF-8 become "?",
 * so that no job plays with the terminal. */
void ftl__text_print(const char *text, size_t size, int width, int most);

/* Whether it is UTF-8; and whether it is, without any control character. */
bool ftl__text_is_utf8(const char *text);
bool ftl__text_is_plain(const char *text);

/* A JSON string, invalid bytes replaced by U+FFFD; "" → "". NULL: out of memory. */
json_t *ftl__text_json(const char *text, size_t size);

/* The value on stdout, on a line of its own; takes over the reference. 0, or FTL_ENOMEM also for a
 * NULL. */
int ftl__text_dump(json_t *value);

#endif
