/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Says which parts of a URL an address of Redis may have; jobs/url.c takes it apart.
 * Passwords never appear in errors or in `shown`, and are wiped before their memory goes back. It
 * does not connect or resolve anything. */
#include "daemon/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/secret.h"
#include "jobs/url.h"

#define PASSWORD_MAX 1024
#define DB_MAX 65535
#define SENTINEL_PORT 26379

static int refuse(char *reason, size_t size, const char *why)
{
    snprintf(reason, size, "%s", why);
    return FTL_EINVAL;
}

static int no_memory(char *reason, size_t size)
{
    snprintf(reason, size, "%s", ftl_error_text(FTL_ENOMEM));
    return FTL_ENOMEM;
}

static bool parse_db(const char *text, uint32_t *ret)
{
    uint32_t db = 0;
    if (*text == '\0' || strlen(text) > 5)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        db = db * 10 + (uint32_t)(*text - '0');
    }
    if (db > DB_MAX)
        return false;
    *ret = db;
    return true;
}

/* The database is the path of redis://, and the only query item of unix://. */
static const char *check_tcp(const struct ftl__url *url, struct ftl__address *address)
{
    if (url->query_count > 0)
        return "redis:// and rediss:// take no options behind a \"?\"";
    if (url->path[0] == '/' && url->path[1] != '\0' && !parse_db(url->path + 1, &address->db))
        return "what follows the host must be the number of a database, as in redis://host/0";
    address->port = url->port != 0 ? url->port : 6379;
    return NULL;
}

static const char *check_unix(const struct ftl__url *url, struct ftl__address *address)
{
    if (url->host != NULL || url->port != 0)
        return "unix:// takes a path and no host, as in unix:///run/redis.sock";
    if (url->path[0] != '/' || url->path[1] == '\0')
        return "unix:// needs the path of a socket";
    if (strlen(url->path) > 107)
        return "the path of a socket has at most 107 bytes";
    for (size_t i = 0; i < url->query_count; i++)
        if (strcmp(url->query[i].name, "db") != 0 || i > 0)
            return "unix:// takes one option, db=N";
    if (url->query_count > 0 && !parse_db(url->query[0].value, &address->db))
        return "db must be the number of a database";
    return NULL;
}

static const char *check_scheme(const struct ftl__url *url, struct ftl__address *address)
{
    address->secure = strcmp(url->scheme, "rediss") == 0;
    if (address->secure || strcmp(url->scheme, "redis") == 0)
        return check_tcp(url, address);
    if (strcmp(url->scheme, "unix") == 0)
        return check_unix(url, address);
    if (strstr(url->scheme, "sentinel") != NULL)
        return "sentinels are not given by an URL, but by redis.sentinels and redis.master";
    return "must begin with redis://, rediss:// or unix://";
}

static char *copy(const char *text, bool *failed)
{
    char *made = text != NULL ? strdup(text) : NULL;
    *failed |= text != NULL && made == NULL;
    return made;
}

static void show(struct ftl__address *address, bool *failed)
{
    const char *host = address->host, *scheme = address->secure ? "rediss://" : "redis://";
    int n = address->socket != NULL
                ? asprintf(&address->shown, "unix://%s?db=%u", address->socket, address->db)
                : asprintf(&address->shown,
                           strchr(host, ':') != NULL ? "%s[%s]:%u/%u" : "%s%s:%u/%u", scheme, host,
                           address->port, address->db);
    if (n < 0) {
        address->shown = NULL;
        *failed = true;
    }
}

static int fill(const struct ftl__url *url, struct ftl__address *address)
{
    bool failed = false;
    if (strcmp(url->scheme, "unix") == 0)
        address->socket = copy(url->path, &failed);
    else
        address->host = copy(url->host != NULL ? url->host : "127.0.0.1", &failed);
    address->user = copy(url->user, &failed);
    if (url->password != NULL && url->password[0] != '\0')
        address->password = copy(url->password, &failed);
    if (!failed)
        show(address, &failed);
    return failed ? FTL_ENOMEM : 0;
}

int ftl__address_parse(const char *text, struct ftl__address *ret_address, char *reason,
                       size_t reason_size)
{
    struct ftl__address address = {.db = 0};
    struct ftl__url *url;
    const char *why;
    int rc = ftl__url_parse(text, &url, &why);
    if (rc != 0) {
        snprintf(reason, reason_size, "%s", why);
        return rc;
    }
    why = check_scheme(url, &address);
    if (why != NULL)
        rc = refuse(reason, reason_size, why);
    else if ((rc = fill(url, &address)) != 0)
        no_memory(reason, reason_size);
    ftl__url_free(url);
    if (rc == 0)
        *ret_address = address;
    else
        ftl__address_clear(&address);
    return rc;
}

/* ---- sentinels --------------------------------------------------------------------------- */

static void free_sentinels(struct ftl__sentinels *sentinels)
{
    if (sentinels == NULL)
        return;
    for (size_t i = 0; i < sentinels->count; i++)
        free(sentinels->at[i].host);
    if (sentinels->password != NULL)
        explicit_bzero(sentinels->password, strlen(sentinels->password));
    free(sentinels->password);
    free(sentinels->master);
    free(sentinels->at);
    free(sentinels);
}

static int add_sentinel(struct ftl__sentinels *sentinels, const char *text)
{
    struct ftl__url *url;
    char whole[512];
    const char *why;
    bool failed = false;
    int size = snprintf(whole, sizeof whole, "redis://%s", text);
    if (size < 0 || (size_t)size >= sizeof whole || strpbrk(text, "/@?") != NULL ||
        ftl__url_parse(whole, &url, &why) != 0)
        return FTL_EINVAL;
    if (url->host == NULL) {
        ftl__url_free(url);
        return FTL_EINVAL;
    }
    sentinels->at[sentinels->count].host = copy(url->host, &failed);
    sentinels->at[sentinels->count++].port = url->port != 0 ? url->port : SENTINEL_PORT;
    ftl__url_free(url);
    return failed ? FTL_ENOMEM : 0;
}

static int fill_sentinels(struct ftl__address *address, char *const *texts, size_t count,
                          const char *master, char *reason, size_t reason_size)
{
    struct ftl__sentinels *sentinels = calloc(1, sizeof *sentinels);
    bool failed = sentinels == NULL;
    int rc = 0;
    if (failed)
        return no_memory(reason, reason_size);
    address->sentinels = sentinels;
    sentinels->at = calloc(count, sizeof *sentinels->at);
    failed = sentinels->at == NULL;
    sentinels->master = copy(master, &failed);
    for (size_t i = 0; i < count && !failed && rc == 0; i++)
        rc = add_sentinel(sentinels, texts[i]);
    if (rc == FTL_EINVAL)
        return refuse(reason, reason_size, "a sentinel is written \"host:port\"");
    if (rc == 0 && !failed)
        failed = asprintf(&address->shown, "%s?db=%u, by %zu sentinels", master, address->db,
                          count) < 0;
    return rc != 0 || failed ? no_memory(reason, reason_size) : 0;
}

int ftl__address_sentinels(char *const *sentinels, size_t count, const char *master, uint32_t db,
                           struct ftl__address *ret_address, char *reason, size_t reason_size)
{
    struct ftl__address address = {.db = db};
    int rc = fill_sentinels(&address, sentinels, count, master, reason, reason_size);
    if (rc == 0)
        *ret_address = address;
    else
        ftl__address_clear(&address);
    return rc;
}

/* ---- passwords --------------------------------------------------------------------------- */

int ftl__address_read_password(struct ftl__address *address, const char *file, char *reason,
                               size_t reason_size)
{
    char text[PASSWORD_MAX + 3];
    int rc = ftl__secret_read(file, text, sizeof(text), reason, reason_size);
    if (rc != 0)
        return rc;
    text[strcspn(text, "\r\n")] = '\0';
    if (text[0] == '\0' || strlen(text) > PASSWORD_MAX) {
        snprintf(reason, reason_size, "%s its first line must be a password of 1 to %d bytes",
                 file, PASSWORD_MAX);
        rc = FTL_EINVAL;
    } else if ((address->password = strdup(text)) == NULL) {
        rc = no_memory(reason, reason_size);
    }
    explicit_bzero(text, sizeof(text));
    return rc;
}

static void swap(char **a, char **b)
{
    char *text = *a;
    *a = *b;
    *b = text;
}

void ftl__address_swap_passwords(struct ftl__address *a, struct ftl__address *b)
{
    swap(&a->password, &b->password);
    if (a->sentinels != NULL && b->sentinels != NULL)
        swap(&a->sentinels->password, &b->sentinels->password);
}

void ftl__address_clear(struct ftl__address *address)
{
    if (address->password != NULL)
        explicit_bzero(address->password, strlen(address->password));
    free(address->password);
    free(address->user);
    free(address->socket);
    free(address->host);
    free(address->shown);
    free_sentinels(address->sentinels);
    ftl__tls_context_free(address->tls);
    *address = (struct ftl__address){.db = 0};
}

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_sentinels(const struct ftl__sentinels *a, const struct ftl__sentinels *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (a->count != b->count || !same(a->master, b->master))
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!same(a->at[i].host, b->at[i].host) || a->at[i].port != b->at[i].port)
            return false;
    return true;
}

bool ftl__address_equal(const struct ftl__address *a, const struct ftl__address *b)
{
    return same(a->socket, b->socket) && same(a->host, b->host) && a->port == b->port &&
           same_sentinels(a->sentinels, b->sentinels) && ftl__tls_context_equal(a->tls, b->tls) &&
           a->db == b->db && same(a->user, b->user);
}
