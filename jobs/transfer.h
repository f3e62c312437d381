/* SPDX-License-Identifier: MIT
 *
 * A transfer: one POST and its answer, over libcurl. */
#ifndef FETTLE_JOBS_TRANSFER_H
#define FETTLE_JOBS_TRANSFER_H

#include <fettle/channel.h>
#include <fettle/task.h>

#include "jobs/curl.h"
#include "runtime/list.h"

#define FTL__TRANSFER_KEPT 1024 /* bytes of an answer's body that are kept, unless it is a 2xx */

/* Borrowed until the transfer has ended. */
struct ftl__transfer_request {
    const char *url;
    struct curl_slist *headers;
    const char *body;
    size_t body_size;
    const char *ca_file;     /* NULL: the system's */
    bool verify;             /* the server's certificate and its name */
    int64_t connect_timeout; /* ns, for name, connection and TLS */
    size_t max_response;     /* bytes of the answer, with its headers */
};

struct ftl__transfer {
    const struct ftl__transfer_request *request;

    /* What came of it. Valid if ftl__transfer_run() has returned 0. */
    CURLcode code;
    long status;          /* of the answer; 0 = none came */
    bool too_large;       /* the answer was, and was not read to its end */
    bool shortage;        /* we had no descriptor or no memory left for it */
    char retry_after[64]; /* the header's value; "" = none */
    char *body;           /* malloc'd, the caller's; or NULL */
    size_t body_size;
    char error[CURL_ERROR_SIZE]; /* libcurl's; "" = it has none */

    /* transfer.c */
    size_t received;

    /* transfers.c */
    struct ftl_runtime *runtime;
    struct ftl__list mail, active;
    int state, rc;
    bool over; /* the run has nothing to wait for */
    CURL *easy;
    struct ftl_oneshot done;
};

/* ---- transfers.c ---- The connections of the process, and who drives them. */

/* One more / one less user of them; the last one closes what is open. FTL_ENOMEM, FTL_ESYS and the
 * like: `error` has one line. Any thread. */
int ftl__transfers_ref(char *error, size_t error_size);
void ftl__transfers_unref(void);

/* libcurl, for whoever has a reference. */
const struct ftl__curl *ftl__transfers_curl(void);

/* Carries out transfer->request; all else is filled in. From a task of `runtime`; the transfer is
 * its own storage. When it returns, or when the task is aborted in it, nobody else knows the
 * transfer. 0: the transfer tells. FTL_ECANCELED: it was dropped. FTL_ENOMEM, FTL_ESHUTDOWN. */
int ftl__transfer_run(struct ftl_runtime *runtime, struct ftl__transfer *transfer);

/* ---- transfer.c ---- Sets transfer->easy, which is as new, up for the request. Driver only. */
CURLcode ftl__transfer_prepare(const struct ftl__curl *curl, struct ftl__transfer *transfer);

#endif
