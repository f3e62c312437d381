/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What one easy handle of libcurl is told, and what it tells: the options of a request, and the
 * callbacks, which count what comes, and keep the little of it that anybody will read. They run in
 * the driver (transfers.c), on its stack, inside libcurl: they neither wait nor panic.
 *
 * One request is one connection (HTTP/1.1), so that what breaks it breaks one run. Nothing is
 * followed, decoded, remembered (no cookies) or taken from the environment (no proxy, no .netrc). */
#include "jobs/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* ---- what comes ------------------------------------------------------------------------- */

/* Whether so much more may come. */
static bool count(struct ftl__transfer *transfer, size_t size)
{
    transfer->received += size;
    transfer->too_large = transfer->received > transfer->request->max_response;
    return !transfer->too_large;
}

static void keep_retry_after(struct ftl__transfer *transfer, const char *value, size_t size)
{
    while (size > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        size--;
    }
    while (size > 0 && strchr(" \t\r\n", value[size - 1]) != NULL)
        size--;
    if (size >= sizeof(transfer->retry_after))
        size = 0; /* no number and no date is as long */
    memcpy(transfer->retry_after, value, size);
    transfer->retry_after[size] = '\0';
}

static size_t take_header(char *line, size_t unit, size_t size, void *arg)
{
    static const char name[] = "retry-after:";
    struct ftl__transfer *transfer = arg;
    size_t length = sizeof(name) - 1;
    size *= unit;
    if (size >= 5 && memcmp(line, "HTTP/", 5) == 0)
        transfer->retry_after[0] = '\0'; /* after a 100, another answer */
    else if (size > length && strncasecmp(line, name, length) == 0)
        keep_retry_after(transfer, line + length, size - length);
    return count(transfer, size) ? size : 0;
}

static void keep_body(struct ftl__transfer *transfer, const char *bytes, size_t size)
{
    size_t room = FTL__TRANSFER_KEPT - transfer->body_size;
    if (transfer->body == NULL)
        transfer->body = malloc(FTL__TRANSFER_KEPT);
    if (transfer->body == NULL)
        return; /* a help, not a record */
    size = size < room ? size : room;
    memcpy(transfer->body + transfer->body_size, bytes, size);
    transfer->body_size += size;
}

static size_t take_body(char *bytes, size_t unit, size_t size, void *arg)
{
    struct ftl__transfer *transfer = arg;
    size *= unit;
    if (transfer->status == 0)
        (void)ftl__transfers_curl()->easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE,
                                                  &transfer->status);
    if (transfer->status / 100 != 2 && size > 0)
        keep_body(transfer, bytes, size);
    return count(transfer, size) ? size : 0;
}

/* ---- the connection --------------------------------------------------------------------- */

/* No child of ours inherits it. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct ftl__transfer *transfer = arg;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0)
        return fd;
    transfer->shortage = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    return CURL_SOCKET_BAD;
}

/* ---- options ---------------------------------------------------------------------------- */

#define SET(option, value)                                                                         \
    if (code == CURLE_OK)                                                                          \
    code = curl->easy_setopt(transfer->easy, CURLOPT_##option, value)

static CURLcode set_request(const struct ftl__curl *curl, struct ftl__transfer *transfer)
{
    const struct ftl__transfer_request *request = transfer->request;
    CURLcode code = CURLE_OK;
    SET(URL, request->url);
    SET(PROTOCOLS_STR, "http,https");
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(POST, 1L);
    SET(POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
    SET(POSTFIELDS, request->body);
    SET(USERAGENT, "fettled"); /* unless a header says otherwise */
    SET(HTTPHEADER, request->headers);
    return code;
}

static CURLcode set_connection(const struct ftl__curl *curl, struct ftl__transfer *transfer)
{
    const struct ftl__transfer_request *request = transfer->request;
    int64_t connect_ms = request->connect_timeout / FTL_MS;
    CURLcode code = CURLE_OK;
    SET(NOSIGNAL, 1L);
    SET(QUICK_EXIT, 1L); /* dropped while a name is looked up: nobody waits for that thread */
    SET(PROXY, "");
    SET(TCP_KEEPALIVE, 1L); /* a host that has gone is noticed, if only after minutes */
    SET(CONNECTTIMEOUT_MS, (long)(connect_ms < INT32_MAX ? connect_ms : INT32_MAX));
    SET(OPENSOCKETFUNCTION, open_socket);
    SET(OPENSOCKETDATA, transfer);
    SET(SSL_VERIFYPEER, request->verify ? 1L : 0L);
    SET(SSL_VERIFYHOST, request->verify ? 2L : 0L);
    if (request->ca_file != NULL)
        SET(CAINFO, request->ca_file);
    return code;
}

static CURLcode set_callbacks(const struct ftl__curl *curl, struct ftl__transfer *transfer)
{
    CURLcode code = CURLE_OK;
    SET(PRIVATE, transfer);
    SET(ERRORBUFFER, transfer->error);
    SET(HEADERFUNCTION, take_header);
    SET(HEADERDATA, transfer);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, transfer);
    return code;
}

CURLcode ftl__transfer_prepare(const struct ftl__curl *curl, struct ftl__transfer *transfer)
{
    CURLcode code = set_request(curl, transfer);
    if (code == CURLE_OK)
        code = set_connection(curl, transfer);
    return code == CURLE_OK ? set_callbacks(curl, transfer) : code;
}
