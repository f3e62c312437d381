/* SPDX-License-Identifier: MIT
 *
 * DESIGN. What a URL and the headers of an HTTP handler may be, and the file of further headers,
 * which holds what must not stand in a configuration that anybody can read. That file is read when
 * the handlers are made, so that a reload takes a new one; what is in it appears in no error and no
 * log, and is wiped. No state. */
#include <config.h>

#include "daemon/endpoint.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/secret.h"
#include "jobs/handler.h"
#include "jobs/url.h"

#define HEADERS_MAX 16384 /* bytes of the file */
#define HEADERS_MOST 64   /* from both places */

/* ---- headers ------------------------------------------------------------------------------- */

static const char *const ours[] = {"Content-Type", "Content-Length", "Transfer-Encoding",
                                   "Connection",   "Expect",         NULL};

static bool is_ours(const char *name, size_t size)
{
    for (size_t i = 0; ours[i] != NULL; i++)
        if (strlen(ours[i]) == size && strncasecmp(ours[i], name, size) == 0)
            return true;
    return size >= 7 && strncasecmp(name, "Fettle-", 7) == 0;
}

/* What is wrong with it, or NULL. */
static const char *header_fault(const char *text)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t size = strspn(text, token);
    if (size == 0 || text[size] != ':' || text[size + 1 + strspn(text + size + 1, " \t")] == '\0')
        return "must be \"Name: value\"";
    if (is_ours(text, size))
        return "is fettled's own to set";
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7f)
            return "has a control character";
    return NULL;
}

static int check_headers(const struct ftl__settings *settings, const config_setting_t *at,
                         char *const *headers)
{
    for (unsigned i = 0; headers != NULL && headers[i] != NULL; i++) {
        const char *fault = header_fault(headers[i]);
        if (fault != NULL)
            return ftl__settings_fail(settings, config_setting_get_elem(at, i), "%s", fault);
    }
    return 0;
}

/* ---- the keys ------------------------------------------------------------------------------- */

static const char *url_fault(const struct ftl__url *url)
{
    if (strcmp(url->scheme, "http") != 0 && strcmp(url->scheme, "https") != 0)
        return "must be http:// or https://";
    if (url->host == NULL)
        return "has no host";
    if (url->user != NULL || url->password != NULL)
        return "must hold no password: put \"Authorization: Basic …\" into headers_file";
    return NULL;
}

static int check_url(const struct ftl__settings *settings, const config_setting_t *at,
                     const char *text, bool *ret_secure)
{
    struct ftl__url *url;
    const char *fault;
    int rc = ftl__url_parse(text, &url, &fault);
    if (rc == FTL_ENOMEM)
        return ftl__settings_no_memory(settings);
    if (rc == 0) {
        fault = url_fault(url);
        *ret_secure = strcmp(url->scheme, "https") == 0;
        ftl__url_free(url);
    }
    return fault != NULL ? ftl__settings_fail(settings, at, "%s", fault) : 0;
}

static int check_tls(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct ftl__handler_config *handler, bool secure)
{
    const config_setting_t *ca_file = config_setting_get_member(at, "ca_file");
    const config_setting_t *verify = config_setting_get_member(at, "verify");
    if (!secure && (ca_file != NULL || verify != NULL))
        return ftl__settings_fail(settings, ca_file != NULL ? ca_file : verify,
                                  "has no effect on an http:// URL");
    if (ca_file != NULL && !handler->verify)
        return ftl__settings_fail(settings, ca_file, "has no effect with verify = false");
    return 0;
}

static int check_path(const struct ftl__settings *settings, const config_setting_t *at,
                      const char *path)
{
    if (path != NULL && path[0] != '/')
        return ftl__settings_fail(settings, at, "must be an absolute path");
    return 0;
}

static int add_retry_status(const struct ftl__settings *settings,
                            struct ftl__handler_config *handler)
{
    static const int usual[] = {408, 425, 429}; /* they speak of the moment, not of the request */
    if (handler->retry_status != NULL)
        return 0;
    handler->retry_status = malloc(sizeof(usual));
    if (handler->retry_status == NULL)
        return ftl__settings_no_memory(settings);
    memcpy(handler->retry_status, usual, sizeof(usual));
    handler->retry_status_count = sizeof(usual) / sizeof(*usual);
    return 0;
}

int ftl__endpoint_check(const struct ftl__settings *settings, const config_setting_t *at,
                        struct ftl__handler_config *handler)
{
    bool secure = false;
    int rc =
        check_url(settings, config_setting_get_member(at, "url"), handler->url, &secure);
    if (rc == 0)
        rc = check_headers(settings, config_setting_get_member(at, "headers"), handler->headers);
    if (rc == 0)
        rc = check_tls(settings, at, handler, secure);
    if (rc == 0)
        rc = check_path(settings, config_setting_get_member(at, "ca_file"), handler->ca_file);
    if (rc == 0)
        rc = check_path(settings, config_setting_get_member(at, "headers_file"),
                        handler->headers_file);
    return rc != 0 ? rc : add_retry_status(settings, handler);
}

/* ---- the handler ---------------------------------------------------------------------------- */

#ifdef HAVE_CURL

/* Appends the lines of `text`, which stay where they are, to the list. */
static int add_lines(char *text, const char **list, size_t *count, char *reason, size_t size)
{
    char *rest = text, *line;
    for (unsigned number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == '\r')
            line[length - 1] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        const char *fault = header_fault(line);
        if (fault == NULL && *count == HEADERS_MOST)
            fault = "is one header too many";
        if (fault != NULL) {
            snprintf(reason, size, "line %u %s", number, fault);
            return FTL_EINVAL;
        }
        list[(*count)++] = line;
    }
    return 0;
}

static int read_headers(const char *file, char text[HEADERS_MAX + 2], const char **list,
                        size_t *count, char *reason, size_t size)
{
    char why[128];
    int rc = ftl__secret_read(file, text, HEADERS_MAX + 2, reason, size);
    if (rc != 0)
        return FTL_EINVAL;
    if (strlen(text) > HEADERS_MAX) {
        snprintf(reason, size, "%s has more than %d bytes", file, HEADERS_MAX);
        return FTL_EINVAL;
    }
    rc = add_lines(text, list, count, why, sizeof(why));
    if (rc != 0)
        snprintf(reason, size, "%s: %s", file, why);
    return rc;
}

/* libcurl reads it anew for each connection. */
static int check_ca_file(const char *file, char *reason, size_t size)
{
    if (access(file, R_OK) == 0)
        return 0;
    snprintf(reason, size, "%s: %s", file, strerror(errno));
    return FTL_EINVAL;
}

static int make(const struct ftl__handler_config *from,
                const struct ftl__handler_settings *settings, const char *const *headers,
                struct ftl__handler **ret, char *reason, size_t size)
{
    const struct ftl__http_settings http = {
        .url = from->url,
        .headers = headers,
        .ca_file = from->ca_file,
        .verify = from->verify,
        .connect_timeout = from->connect_timeout,
        .max_response = from->max_response,
        .retry_status = from->retry_status,
        .retry_status_count = from->retry_status_count,
    };
    return ftl__http_new(settings, &http, ret, reason, size);
}

int ftl__endpoint_make(const struct ftl__handler_config *from,
                       const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                       const char **ret_key, char *reason, size_t size)
{
    const char *headers[HEADERS_MOST + 1] = {NULL};
    char *text = NULL;
    size_t count = 0;
    int rc = 0;
    for (; from->headers != NULL && from->headers[count] != NULL; count++)
        headers[count] = from->headers[count];
    if (from->ca_file != NULL && check_ca_file(from->ca_file, reason, size) != 0) {
        *ret_key = "ca_file";
        return FTL_EINVAL;
    }
    *ret_key = "headers_file";
    if (from->headers_file != NULL) {
        text = calloc(1, HEADERS_MAX + 2);
        rc = text != NULL ? read_headers(from->headers_file, text, headers, &count, reason, size)
                          : FTL_ENOMEM;
    }
    if (rc == 0) {
        *ret_key = "url";
        rc = make(from, settings, headers, ret, reason, size);
    }
    if (text != NULL)
        explicit_bzero(text, HEADERS_MAX + 2);
    free(text);
    return rc;
}

#else

/* The key `url` is refused before. */
int ftl__endpoint_make(const struct ftl__handler_config *from,
                       const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                       const char **ret_key, char *reason, size_t size)
{
    (void)from, (void)settings, (void)ret;
    *ret_key = "url";
    snprintf(reason, size, "this fettled was built without libcurl");
    return FTL_EINVAL;
}

#endif
