/* SPDX-License-Identifier: MIT
 *
 * TLS from memory to memory, by OpenSSL: what came from the peer goes in, what is to be sent comes
 * out. It never waits and knows no descriptor (connection.h does). Where the library was configured
 * without OpenSSL, ftl__tls_context_new() says so. */
#ifndef FETTLE_RUNTIME_TLS_H
#define FETTLE_RUNTIME_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <fettle/error.h>

struct ftl__tls_options {
    char *ca_file;     /* PEM: whom we trust; NULL = whom the system trusts                  */
    char *cert_file;   /* PEM: our own certificate and its chain; NULL = none                */
    char *key_file;    /* PEM: its key; NULL = in cert_file                                  */
    char *server_name; /* asked for, and looked for in the certificate; NULL = the host's    */
    bool verify;       /* false: encrypted, but with whomever                                */
};

/* What connections have in common: certificates, once they are read. Immutable: any thread. */
struct ftl__tls_context;

/* Loads OpenSSL, if this is the first, and reads the files. The options are copied. Otherwise
 * FTL_EINVAL or FTL_ENOMEM, and one line in `reason` that names the file. */
int ftl__tls_context_new(const struct ftl__tls_options *options,
                         struct ftl__tls_context **ret_context, char *reason, size_t reason_size);
void ftl__tls_context_free(
    struct ftl__tls_context *context); /* NULL-safe; its sessions are closed */
/* Whether they were made by the same options; NULL is equal to NULL only. */
bool ftl__tls_context_equal(const struct ftl__tls_context *a, const struct ftl__tls_context *b);

/* One connection, as its client. Used by one thread, or task, at a time. */
struct ftl__tls;

/* `host`: a name or an IP address, which the certificate must have, unless the options give
 * another. FTL_ENOMEM. The context outlives the session. */
int ftl__tls_open(const struct ftl__tls_context *context, const char *host,
                  struct ftl__tls **ret_tls);
void ftl__tls_close(struct ftl__tls *tls); /* NULL-safe */

/* 0: the peer is who it should be, and bytes may be written. FTL_EAGAIN: more must be sent (take)
 * and received (feed) before. FTL_EPROTO: `reason` says why not. */
int ftl__tls_handshake(struct ftl__tls *tls, char *reason, size_t reason_size);

/* What the peer has sent. FTL_ENOMEM. */
int ftl__tls_feed(struct ftl__tls *tls, const void *bytes, size_t size);
/* Decrypts into `bytes`: how much; 0: the peer has ended the session; FTL_EAGAIN: nothing without
 * more to feed; FTL_EPROTO: the session is broken. */
ssize_t ftl__tls_read(struct ftl__tls *tls, void *bytes, size_t size);
/* Encrypts all of it, to be taken. FTL_EPROTO, FTL_ENOMEM: the session is broken. */
int ftl__tls_write(struct ftl__tls *tls, const void *bytes, size_t size);
/* Why the session is broken, one line, after FTL_EPROTO of read or write; before it is "". */
const char *ftl__tls_reason(const struct ftl__tls *tls);
/* Moves what is to be sent to the peer into `bytes`; 0: nothing is left. */
size_t ftl__tls_take(struct ftl__tls *tls, void *bytes, size_t size);

#endif
