/* SPDX-License-Identifier: MIT
 *
 * DESIGN. One reader for each kind of key, picked by the kind; each checks the type first, then the
 * range, then stores. Whatever is allocated goes into the record at once, so that an error on the
 * way leaves nothing that ftl__settings_free() would not find. The name of a key in an error is
 * made from the setting's place in the file (`handlers[1].command`). It knows nothing of what the
 * keys mean. */
#include "daemon/settings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ----------------------------------------------------------------------------- */

static const char *type_name(const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_GROUP:
        return "a group { }";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "an integer";
    case CONFIG_TYPE_FLOAT:
        return "a float";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "a boolean";
    case CONFIG_TYPE_ARRAY:
        return "an array [ ]";
    case CONFIG_TYPE_LIST:
        return "a list ( )";
    default:
        return "nothing";
    }
}

/* Appends the setting's full name: `handlers[1].command`. */
static void add_path(const config_setting_t *setting, char *path, size_t size)
{
    const config_setting_t *parent = config_setting_parent(setting);
    if (parent == NULL)
        return; /* the root has no name */
    add_path(parent, path, size);
    size_t used = strlen(path);
    if (config_setting_name(setting) != NULL)
        snprintf(path + used, size - used, "%s%s", used > 0 ? "." : "",
                 config_setting_name(setting));
    else
        snprintf(path + used, size - used, "[%d]", config_setting_index(setting));
}

int ftl__settings_fail(const struct ftl__settings *settings, const config_setting_t *at,
                       const char *format, ...)
{
    char path[256] = "", reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    for (char *c = reason; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?'; /* a value that is quoted must not break the line */
    if (at != NULL)
        add_path(at, path, sizeof(path));
    if (path[0] == '\0')
        snprintf(settings->error, settings->error_size, "%s: %s", settings->file, reason);
    else
        snprintf(settings->error, settings->error_size, "%s:%u: %s: %s", settings->file,
                 config_setting_source_line(at), path, reason);
    return FTL_EINVAL;
}

int ftl__settings_no_memory(const struct ftl__settings *settings)
{
    ftl__settings_fail(settings, NULL, "%s", ftl_error_text(FTL_ENOMEM));
    return FTL_ENOMEM;
}

static int wrong_type(const struct ftl__settings *settings, const config_setting_t *at,
                      const char *expected)
{
    return ftl__settings_fail(settings, at, "expected %s, got %s", expected, type_name(at));
}

/* How many letters to insert, delete, replace or swap with their neighbour to turn a into b. */
static size_t distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    size_t rows = strlen(a), columns = strlen(b), d[MAX + 1][MAX + 1];
    if (rows > MAX || columns > MAX)
        return MAX;
    for (size_t i = 0; i <= rows; i++)
        for (size_t j = 0; j <= columns; j++) {
            size_t best = i == 0 ? j : i;
            if (i > 0 && j > 0) {
                best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
                best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
                best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    best = d[i - 2][j - 2] + 1 < best ? d[i - 2][j - 2] + 1 : best;
            }
            d[i][j] = best;
        }
    return d[rows][columns];
}

static int unknown_key(const struct ftl__settings *settings, const config_setting_t *at,
                       const struct ftl__key *keys)
{
    const char *name = config_setting_name(at), *nearest = NULL;
    size_t least = 3; /* two slips still look like a slip */
    for (const struct ftl__key *key = keys; key->name != NULL; key++)
        if (key->kind != FTL__KEY_REFUSED && distance(name, key->name) < least) {
            least = distance(name, key->name);
            nearest = key->name;
        }
    if (nearest == NULL || least >= strlen(name))
        return ftl__settings_fail(settings, at, "unknown key");
    return ftl__settings_fail(settings, at, "unknown key (did you mean \"%s\"?)", nearest);
}

/* ---- values ----------------------------------------------------------------------------- */

static int in_range(const struct ftl__settings *settings, const config_setting_t *at,
                    const struct ftl__key *key, double value)
{
    if (value >= key->min && value <= key->max)
        return 0;
    return ftl__settings_fail(settings, at, "%.10g is out of range (%.10g to %.10g)", value,
                              key->min, key->max);
}

static bool is_integer(const config_setting_t *at)
{
    int type = config_setting_type(at);
    return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static int read_integer(const struct ftl__settings *settings, const config_setting_t *at,
                        const struct ftl__key *key, int64_t *ret)
{
    if (!is_integer(at))
        return wrong_type(settings, at, "an integer");
    *ret = config_setting_get_int64(at);
    return in_range(settings, at, key, (double)*ret);
}

static int read_uint(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct ftl__key *key, void *member)
{
    int64_t value;
    int rc = read_integer(settings, at, key, &value);
    if (rc == 0)
        *(uint32_t *)member = (uint32_t)value;
    return rc;
}

static int read_size(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct ftl__key *key, void *member)
{
    int64_t value;
    int rc = read_integer(settings, at, key, &value);
    if (rc == 0)
        *(size_t *)member = (size_t)value;
    return rc;
}

static int read_seconds(const struct ftl__settings *settings, const config_setting_t *at,
                        const struct ftl__key *key, void *member)
{
    if (!is_integer(at) && config_setting_type(at) != CONFIG_TYPE_FLOAT)
        return wrong_type(settings, at, "seconds, an integer or a float");
    double value =
        is_integer(at) ? (double)config_setting_get_int64(at) : config_setting_get_float(at);
    int rc = in_range(settings, at, key, value);
    if (rc == 0)
        *(double *)member = value;
    return rc;
}

static int read_bool(const struct ftl__settings *settings, const config_setting_t *at, void *member)
{
    if (config_setting_type(at) != CONFIG_TYPE_BOOL)
        return wrong_type(settings, at, "true or false");
    *(bool *)member = config_setting_get_bool(at) != 0;
    return 0;
}

static int read_word(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct ftl__key *key, void *member)
{
    const char *text = config_setting_get_string(at);
    if (text == NULL)
        return wrong_type(settings, at, "a string");
    char known[256] = "";
    for (int i = 0; key->words[i] != NULL; i++) {
        if (strcmp(text, key->words[i]) == 0) {
            memcpy(member, &i, sizeof(i)); /* an enum of that size */
            return 0;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s\"%s\"", i > 0 ? ", " : "",
                 key->words[i]);
    }
    return ftl__settings_fail(settings, at, "\"%s\" is none of %s", text, known);
}

static int read_bool_or_word(const struct ftl__settings *settings, const config_setting_t *at,
                             const struct ftl__key *key, void *member)
{
    int value = 0;
    if (config_setting_type(at) == CONFIG_TYPE_BOOL) {
        value = config_setting_get_bool(at) != 0;
    } else if (config_setting_type(at) != CONFIG_TYPE_STRING) {
        return wrong_type(settings, at, "true, false or a string");
    } else {
        int rc = read_word(settings, at, key, &value);
        if (rc != 0)
            return rc;
        value += 2;
    }
    memcpy(member, &value, sizeof(value));
    return 0;
}

static int copy_text(const struct ftl__settings *settings, const config_setting_t *at, char **ret)
{
    const char *text = config_setting_get_string(at);
    if (text == NULL)
        return wrong_type(settings, at, "a string");
    *ret = strdup(text);
    return *ret != NULL ? 0 : ftl__settings_no_memory(settings);
}

static int read_text(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct ftl__key *key, void *member)
{
    int rc = copy_text(settings, at, member);
    if (rc != 0)
        return rc;
    size_t size = strlen(*(char **)member);
    if ((double)size < key->min || (double)size > key->max)
        return ftl__settings_fail(settings, at, "must have %.10g to %.10g bytes, has %zu", key->min,
                                  key->max, size);
    return 0;
}

/* An array or a list; how many elements. */
static int read_length(const struct ftl__settings *settings, const config_setting_t *at,
                       const char *expected, size_t *ret)
{
    int type = config_setting_type(at);
    if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST)
        return wrong_type(settings, at, expected);
    *ret = (size_t)config_setting_length(at);
    return 0;
}

static void store_count(const struct ftl__key *key, void *record, size_t count)
{
    if (key->count_offset != 0)
        *(size_t *)((char *)record + key->count_offset) = count;
}

static int read_texts(const struct ftl__settings *settings, const config_setting_t *at,
                      const struct ftl__key *key, void *record)
{
    size_t count = 0;
    int rc = read_length(settings, at, "an array of strings", &count);
    if (rc != 0)
        return rc;
    if ((double)count < key->min || (double)count > key->max)
        return ftl__settings_fail(settings, at, "must have %.10g to %.10g elements, has %zu",
                                  key->min, key->max, count);
    char **texts = calloc(count + 1, sizeof(*texts));
    if (texts == NULL)
        return ftl__settings_no_memory(settings);
    *(char ***)((char *)record + key->offset) = texts;
    store_count(key, record, count);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = copy_text(settings, config_setting_get_elem(at, (unsigned)i), &texts[i]);
    return rc;
}

static int read_codes(const struct ftl__settings *settings, const config_setting_t *at,
                      const struct ftl__key *key, void *record)
{
    size_t count = 0;
    int rc = read_length(settings, at, "an array of integers", &count);
    if (rc != 0)
        return rc;
    int *codes = calloc(count + 1, sizeof(*codes)); /* + 1: none is not NULL */
    if (codes == NULL)
        return ftl__settings_no_memory(settings);
    *(int **)((char *)record + key->offset) = codes;
    store_count(key, record, count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        int64_t value = 0;
        rc = read_integer(settings, config_setting_get_elem(at, (unsigned)i), key, &value);
        codes[i] = (int)value;
    }
    return rc;
}

static int read_list(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct ftl__key *key, void *record)
{
    size_t count = 0;
    int rc = read_length(settings, at, "a list of groups", &count);
    if (rc != 0)
        return rc;
    if ((double)count > key->max)
        return ftl__settings_fail(settings, at, "has %zu elements, at most %.10g are allowed",
                                  count, key->max);
    char *records = calloc(count + 1, key->record_size);
    if (records == NULL)
        return ftl__settings_no_memory(settings);
    *(void **)((char *)record + key->offset) = records;
    store_count(key, record, count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const config_setting_t *element = config_setting_get_elem(at, (unsigned)i);
        char *into = records + i * key->record_size;
        if (key->defaults != NULL)
            memcpy(into, key->defaults, key->record_size);
        rc = ftl__settings_read(settings, element, key->keys, into);
        if (rc == 0 && key->check != NULL)
            rc = key->check(settings, element, into);
    }
    return rc;
}

static int read_key(const struct ftl__settings *settings, const config_setting_t *at,
                    const struct ftl__key *key, void *record)
{
    void *member = (char *)record + key->offset;
    switch (key->kind) {
    case FTL__KEY_UINT:
        return read_uint(settings, at, key, member);
    case FTL__KEY_SIZE:
        return read_size(settings, at, key, member);
    case FTL__KEY_SECONDS:
        return read_seconds(settings, at, key, member);
    case FTL__KEY_BOOL:
        return read_bool(settings, at, member);
    case FTL__KEY_WORD:
        return read_word(settings, at, key, member);
    case FTL__KEY_BOOL_OR_WORD:
        return read_bool_or_word(settings, at, key, member);
    case FTL__KEY_TEXT:
        return read_text(settings, at, key, member);
    case FTL__KEY_TEXTS:
        return read_texts(settings, at, key, record);
    case FTL__KEY_CODES:
        return read_codes(settings, at, key, record);
    case FTL__KEY_GROUP:
        return ftl__settings_read(settings, at, key->keys, record);
    case FTL__KEY_LIST:
        return read_list(settings, at, key, record);
    case FTL__KEY_REFUSED:
        break;
    }
    return ftl__settings_fail(settings, at, "%s", key->why);
}

/* ---- groups ----------------------------------------------------------------------------- */

static const struct ftl__key *find_key(const struct ftl__key *keys, const char *name)
{
    for (const struct ftl__key *key = keys; key->name != NULL; key++)
        if (strcmp(key->name, name) == 0)
            return key;
    return NULL;
}

int ftl__settings_read(const struct ftl__settings *settings, const config_setting_t *group,
                       const struct ftl__key *keys, void *record)
{
    if (config_setting_type(group) != CONFIG_TYPE_GROUP)
        return wrong_type(settings, group, "a group { }");
    int count = config_setting_length(group);
    for (int i = 0; i < count; i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        const struct ftl__key *key = find_key(keys, config_setting_name(setting));
        int rc = key != NULL ? read_key(settings, setting, key, record)
                             : unknown_key(settings, setting, keys);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void free_list(const struct ftl__key *key, void *record, char *records)
{
    size_t count = *(size_t *)((char *)record + key->count_offset);
    for (size_t i = 0; records != NULL && i < count; i++)
        ftl__settings_free(key->keys, records + i * key->record_size);
}

void ftl__settings_free(const struct ftl__key *keys, void *record)
{
    for (const struct ftl__key *key = keys; key->name != NULL; key++) {
        void **member = (void **)((char *)record + key->offset);
        if (key->kind == FTL__KEY_GROUP) {
            ftl__settings_free(key->keys, record);
            continue;
        }
        if (key->kind == FTL__KEY_LIST)
            free_list(key, record, *member);
        if (key->kind == FTL__KEY_TEXTS)
            for (char **text = *member; text != NULL && *text != NULL; text++)
                free(*text);
        if (key->kind == FTL__KEY_TEXT || key->kind == FTL__KEY_TEXTS ||
            key->kind == FTL__KEY_CODES || key->kind == FTL__KEY_LIST) {
            free(*member);
            *member = NULL;
        }
    }
}
