/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A handler that posts each job to a URL. This file holds what is settled when the configuration is
 * read (the URL, the fixed headers), and translates: a run to headers, an answer to a verdict. How
 * bytes get there and back is in jobs/transfer.c and jobs/transfers.c.
 *
 * A handler is immutable; any number of runs use it at a time, on any thread. A run's own headers
 * lie on its stack, chained in front of the handler's. Secrets come from a file, and are wiped.
 *
 * Verdicts, in this order: no means of our own → later; no answer, or one that is too large →
 * HttpError; 2xx → done; 429 and 503 with Retry-After → later; 4xx that is not listed in
 * retry_status → never again; anything else → HttpStatus. A run that is asked to end, at its timeout
 * too, does so at once. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs/handler.h"
#include "jobs/transfer.h"

#define LATER_SHORT  5.0   /* for a request that there were no means to send */
#define LATER_MAX    86400 /* the longest Retry-After that is honoured, s */
#define RUN_HEADERS  6     /* headers that each run adds */
#define ENCODED(max) (3 * (max))

struct http {
    struct ftl__handler base;
    char *url;
    char *ca_file; /* or NULL */
    struct curl_slist *headers;
    bool verify;
    int64_t connect_timeout; /* ns */
    size_t max_response;
    int *retry_status;
    size_t retry_status_count;
};

/* ---- headers ---------------------------------------------------------------------------- */

struct headers {
    struct curl_slist node[RUN_HEADERS];
    size_t count, size;
    char text[ENCODED(FTL__JID_MAX + FTL__CLASS_MAX) + FTL__QUEUE_MAX + 256];
};

/* What a header cannot carry, and %, as %XX: a jid is no way to add headers. */
static void encode(struct headers *headers, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;
        if (c > ' ' && c < 0x7f && c != '%') {
            headers->text[headers->size++] = *value;
            continue;
        }
        headers->text[headers->size++] = '%';
        headers->text[headers->size++] = hex[c >> 4];
        headers->text[headers->size++] = hex[c & 15];
    }
}

static void add(struct headers *headers, const char *name, const char *value)
{
    struct curl_slist *node = &headers->node[headers->count];
    ftl_assert(headers->count < RUN_HEADERS);
    node->data = headers->text + headers->size;
    node->next = node + 1;
    headers->size += (size_t)sprintf(node->data, "%s: ", name);
    encode(headers, value);
    headers->text[headers->size++] = '\0';
    headers->count++;
    ftl_assert(headers->size <= sizeof(headers->text));
}

static void make_headers(const struct http *http, const struct ftl_run *run,
                         struct headers *headers)
{
    char number[32];
    headers->count = headers->size = 0;
    add(headers, "Fettle-Jid", run->jid);
    add(headers, "Fettle-Class", run->class);
    add(headers, "Fettle-Queue", run->queue);
    snprintf(number, sizeof(number), "%u", (unsigned)run->attempt);
    add(headers, "Fettle-Attempt", number);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)run->token);
    add(headers, "Fettle-Token", number);
    if (run->deadline != FTL_FOREVER) {
        snprintf(number, sizeof(number), "%.3f", run->deadline_epoch);
        add(headers, "Fettle-Deadline", number);
    }
    headers->node[headers->count - 1].next = http->headers;
}

/* ---- the verdict ------------------------------------------------------------------------ */

/* Seconds that a Retry-After means: a number, or a date; -1: neither. */
static double retry_after(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    double seconds;
    if (digits > 0 && text[digits] == '\0') {
        seconds = strtod(text, NULL);
    } else {
        time_t at = ftl__transfers_curl()->getdate(text, NULL);
        if (at == (time_t)-1)
            return -1;
        seconds = difftime(at, time(NULL));
    }
    return seconds < 1 ? 1 : seconds > LATER_MAX ? LATER_MAX : seconds;
}

static bool is_retried(const struct http *http, long status)
{
    if (status / 100 != 4)
        return true;
    for (size_t i = 0; i < http->retry_status_count; i++)
        if (http->retry_status[i] == status)
            return true;
    return false;
}

/* "HTTP 500: the first bytes of its body". */
static int fail_status(struct ftl_run *run, const struct ftl__transfer *transfer)
{
    char message[FTL__TRANSFER_KEPT + 32];
    size_t size = transfer->body_size;
    while (size > 0 && isspace((unsigned char)transfer->body[size - 1]))
        size--;
    size_t head = (size_t)snprintf(message, 32, "HTTP %ld%s", transfer->status, size ? ": " : "");
    if (size > 0)
        memcpy(message + head, transfer->body, size);
    return ftl__run_failed(run, "HttpStatus", message, head + size);
}

static int judge_status(const struct http *http, struct ftl_run *run,
                        const struct ftl__transfer *transfer)
{
    long status = transfer->status;
    if (status / 100 == 2)
        return 0;
    int rc = fail_status(run, transfer);
    double later = status == 429 || status == 503 ? retry_after(transfer->retry_after) : -1;
    if (later > 0)
        run->failure.later = later;
    else
        run->failure.never = !is_retried(http, status);
    return rc;
}

static int fail_transfer(const struct http *http, struct ftl_run *run,
                         const struct ftl__transfer *transfer)
{
    const char *error = transfer->error[0] != '\0'
                            ? transfer->error
                            : ftl__transfers_curl()->easy_strerror(transfer->code);
    if (transfer->too_large)
        return ftl_run_fail(run, "HttpError", "the answer (HTTP %ld) has more than %zu bytes",
                            transfer->status, http->max_response);
    if (transfer->status != 0) /* it broke off */
        return ftl_run_fail(run, "HttpError", "%s (HTTP %ld)", error, transfer->status);
    return ftl_run_fail(run, "HttpError", "%s", error);
}

/* Not the job's fault. */
static int fail_shortage(struct ftl_run *run)
{
    (void)ftl_run_fail(run, "HttpError", "no descriptor or no memory left for a request");
    run->failure.later = LATER_SHORT;
    return 1;
}

static int judge(const struct http *http, struct ftl_run *run, const struct ftl__transfer *transfer,
                 int rc)
{
    if (rc == FTL_ENOMEM || (rc == 0 && transfer->code != CURLE_OK && transfer->shortage))
        return fail_shortage(run);
    if (rc != 0)
        return rc;
    return transfer->code == CURLE_OK ? judge_status(http, run, transfer)
                                      : fail_transfer(http, run, transfer);
}

/* ---- the run ---------------------------------------------------------------------------- */

static void free_body(void *arg)
{
    free(((struct ftl__transfer *)arg)->body);
}

static int http_run(struct ftl__handler *handler, struct ftl_run *run)
{
    const struct http *http = (const struct http *)handler;
    struct headers headers;
    make_headers(http, run, &headers);
    const struct ftl__transfer_request request = {
        .url = http->url,
        .headers = headers.node,
        .body = run->bytes,
        .body_size = run->size,
        .ca_file = http->ca_file,
        .verify = http->verify,
        .connect_timeout = http->connect_timeout,
        .max_response = http->max_response,
    };
    struct ftl__transfer transfer = {.request = &request};
    FTL_DEFER(free_body, &transfer);
    int rc = ftl__transfer_run(run->runtime, &transfer);
    return judge(http, run, &transfer, rc);
}

/* ---- configuration ---------------------------------------------------------------------- */

static void free_headers(struct curl_slist *headers)
{
    for (struct curl_slist *node = headers; node != NULL; node = node->next)
        explicit_bzero(node->data, strlen(node->data));
    ftl__transfers_curl()->slist_free_all(headers);
}

static void http_destroy(struct ftl__handler *handler)
{
    struct http *http = (struct http *)handler;
    free_headers(http->headers);
    ftl__transfers_unref();
    free(http->url);
    free(http->ca_file);
    free(http->retry_status);
    ftl__handler_fini(&http->base);
    free(http);
}

static const struct ftl__handler_kind http_kind = {.name = "http",
                                                   .migratable = true,
                                                   .run = http_run,
                                                   .destroy = http_destroy};

static int append(struct http *http, const char *header)
{
    struct curl_slist *list = ftl__transfers_curl()->slist_append(http->headers, header);
    if (list == NULL)
        return FTL_ENOMEM;
    http->headers = list;
    return 0;
}

/* "Expect:" keeps libcurl from asking first whether a large job may be sent. */
static int copy_headers(struct http *http, const char *const *headers)
{
    static const char *const fixed[] = {"Content-Type: application/json", "Expect:", NULL};
    int rc = 0;
    for (size_t i = 0; fixed[i] != NULL && rc == 0; i++)
        rc = append(http, fixed[i]);
    for (; headers != NULL && *headers != NULL && rc == 0; headers++)
        rc = append(http, *headers);
    return rc;
}

static int fill(struct http *http, const struct ftl__http_settings *settings)
{
    size_t size = settings->retry_status_count * sizeof(*http->retry_status);
    http->url = strdup(settings->url);
    http->ca_file = settings->ca_file != NULL ? strdup(settings->ca_file) : NULL;
    http->retry_status = malloc(size + 1);
    if (http->url == NULL || http->retry_status == NULL ||
        (settings->ca_file != NULL && http->ca_file == NULL))
        return FTL_ENOMEM;
    if (size > 0)
        memcpy(http->retry_status, settings->retry_status, size);
    http->retry_status_count = settings->retry_status_count;
    http->verify = settings->verify;
    http->max_response = settings->max_response;
    http->connect_timeout = ftl__seconds(settings->connect_timeout);
    return copy_headers(http, settings->headers);
}

int ftl__http_new(const struct ftl__handler_settings *settings,
                  const struct ftl__http_settings *http_settings, struct ftl__handler **ret_handler,
                  char *error, size_t error_size)
{
    struct http *http;
    int rc = ftl__transfers_ref(error, error_size);
    if (rc != 0)
        return rc;
    http = calloc(1, sizeof(*http));
    if (http == NULL || ftl__handler_init(&http->base, &http_kind, settings) != 0) {
        free(http);
        ftl__transfers_unref();
        goto no_memory;
    }
    rc = fill(http, http_settings);
    if (rc != 0) {
        http_destroy(&http->base);
        goto no_memory;
    }
    *ret_handler = &http->base;
    return 0;

no_memory:
    snprintf(error, error_size, "%s", ftl_error_text(FTL_ENOMEM));
    return FTL_ENOMEM;
}
