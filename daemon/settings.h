/* SPDX-License-Identifier: MIT
 *
 * Settings: a group of a libconfig file read into a struct, by a table of its keys. The table says
 * what exists, of which type, in which range, and where it goes; whatever else stands in the group
 * is an error that names file, line and key. */
#ifndef FETTLE_DAEMON_SETTINGS_H
#define FETTLE_DAEMON_SETTINGS_H

#include <stddef.h>

#include <fettle/error.h>
#include <fettle/export.h>
#include <libconfig.h>

enum ftl__key_kind {
    FTL__KEY_UINT,    /* uint32_t: an integer in [min, max]                                     */
    FTL__KEY_SIZE,    /* size_t, likewise                                                       */
    FTL__KEY_SECONDS, /* double: an integer or a float in [min, max]                            */
    FTL__KEY_BOOL,    /* bool                                                                   */
    FTL__KEY_WORD,    /* an enum: one of `words`, its index is the value                        */
    FTL__KEY_BOOL_OR_WORD, /* an enum: false = 0, true = 1, then those of `words`               */
    FTL__KEY_TEXT,    /* char *: min to max bytes; NULL where the key is absent                 */
    FTL__KEY_TEXTS,   /* char **, NULL-terminated: an array or list of min to max strings       */
    FTL__KEY_CODES,   /* int *: an array or list of integers in [min, max]                      */
    FTL__KEY_GROUP,   /* nothing of its own: `keys` are read into the same struct               */
    FTL__KEY_LIST,    /* struct *: a list of up to max groups, each read by `keys`              */
    FTL__KEY_REFUSED, /* known, but an error: `why`                                             */
};

struct ftl__settings;

struct ftl__key {
    const char *name; /* NULL ends the table */
    enum ftl__key_kind kind;
    size_t offset; /* of the member in the struct */
    double min, max;
    size_t count_offset;      /* of the size_t that counts the elements: CODES, LIST, and
                                 TEXTS if not 0 */
    const char *const *words; /* NULL-terminated */
    const struct ftl__key *keys;
    size_t record_size;   /* LIST: of one element */
    const void *defaults; /* LIST: what an element is before it is read; NULL = zeros */
    /* LIST: checks an element after it was read; 0 or the value of ftl__settings_fail(). */
    int (*check)(const struct ftl__settings *settings, const config_setting_t *at, void *record);
    const char *why;
};

/* One reading: the file's name and where an error goes. */
struct ftl__settings {
    const char *file;
    char *error; /* one line */
    size_t error_size;
};

/* Reads `group` into `record`, whose members hold their defaults. 0, FTL_EINVAL or FTL_ENOMEM; then
 * too ftl__settings_free() gives back what the record owns. */
int ftl__settings_read(const struct ftl__settings *settings, const config_setting_t *group,
                       const struct ftl__key *keys, void *record);

/* Frees what reading by this table has put into the record, and sets it to NULL. */
void ftl__settings_free(const struct ftl__key *keys, void *record);

/* "FILE:LINE: KEY: reason"; `at` NULL: "FILE: reason". Returns FTL_EINVAL. */
int ftl__settings_fail(const struct ftl__settings *settings, const config_setting_t *at,
                       const char *format, ...) FTL_PRINTF(3, 4);

/* Returns FTL_ENOMEM, with a line that says so. */
int ftl__settings_no_memory(const struct ftl__settings *settings);

#endif
