/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * OpenSSL with a memory BIO on either side. libssl is loaded at the first use, so that a program
 * which does not encrypt has neither its pages nor its constructors; its functions stand in one
 * table, with the types of its headers. It stays loaded. TLS 1.2 is the least.
 *
 * The peer is checked during the handshake: its chain against `ca_file` or the system's, its name
 * against the one that was asked for. There is no resumption and no renegotiation; what the peer
 * asks for in between (a new key) is answered with the next bytes that are written. */
#include "runtime/tls.h"

#include <stdio.h>

#include "config.h"

#ifdef HAVE_OPENSSL

#include <arpa/inet.h>
#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
#define LIBRARY    "libssl.so." TEXT(OPENSSL_SHLIB_VERSION)

/* clang-format off */
#define FUNCTIONS(X)                                                                               \
    X(BIO_free) X(BIO_new) X(BIO_read) X(BIO_s_mem) X(BIO_write)                                   \
    X(ERR_clear_error) X(ERR_get_error) X(ERR_reason_error_string)                                 \
    X(SSL_CTX_ctrl) X(SSL_CTX_free) X(SSL_CTX_load_verify_file) X(SSL_CTX_new)                     \
    X(SSL_CTX_set_default_verify_paths) X(SSL_CTX_set_options) X(SSL_CTX_set_verify)               \
    X(SSL_CTX_use_PrivateKey_file) X(SSL_CTX_use_certificate_chain_file)                           \
    X(SSL_ctrl) X(SSL_do_handshake) X(SSL_free) X(SSL_get_error) X(SSL_get_verify_result)          \
    X(SSL_new) X(SSL_read_ex) X(SSL_set0_rbio) X(SSL_set0_wbio) X(SSL_set1_host)                   \
    X(SSL_set_connect_state) X(SSL_write_ex)                                                       \
    X(TLS_client_method) X(X509_verify_cert_error_string)
/* clang-format on */

/* Filled once, before the first context is made. */
static struct {
#define X(name) __typeof__(name) *name;
    FUNCTIONS(X)
#undef X
} lib;
static char load_error[256];

struct ftl__tls_context {
    struct ftl__tls_options options; /* texts are ours */
    SSL_CTX *ssl;
};

struct ftl__tls {
    SSL *ssl;
    BIO *in, *out; /* the session's */
    char reason[128]; /* of what has broken it after the handshake */
};

/* ---- the library ------------------------------------------------------------------------ */

static void *find(void *handle, const char *name)
{
    void *function = dlsym(handle, name); /* in libssl, or in the libcrypto it brings */
    if (!function && load_error[0] == '\0')
        snprintf(load_error, sizeof load_error, "%s has no %s", LIBRARY, name);
    return function;
}

static void load(void)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(load_error, sizeof load_error, "%s", dlerror());
        return;
    }
#define X(name) *(void **)&lib.name = find(handle, #name);
    FUNCTIONS(X)
#undef X
}

static const char *load_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return load_error[0] != '\0' ? load_error : NULL;
}

/* The oldest error of the thread's queue: what went wrong first. */
static const char *why(void)
{
    unsigned long code = lib.ERR_get_error();
    const char *text = NULL;
    if (code != 0)
        text = ERR_SYSTEM_ERROR(code) ? strerrordesc_np(ERR_GET_REASON(code))
                                      : lib.ERR_reason_error_string(code);
    lib.ERR_clear_error();
    return text ? text : "error";
}

/* ---- the context ------------------------------------------------------------------------ */

static bool copy(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static bool copy_options(struct ftl__tls_options *to, const struct ftl__tls_options *from)
{
    to->verify = from->verify;
    bool ca = copy(&to->ca_file, from->ca_file), cert = copy(&to->cert_file, from->cert_file);
    bool key = copy(&to->key_file, from->key_file);
    return copy(&to->server_name, from->server_name) && ca && cert && key;
}

static int refuse(const char *file, const char *text, char *reason, size_t size)
{
    snprintf(reason, size, "%s: %s", file, text);
    lib.ERR_clear_error();
    return FTL_EINVAL;
}

static int trust(struct ftl__tls_context *context, char *reason, size_t size)
{
    const char *file = context->options.ca_file;
    lib.SSL_CTX_set_verify(context->ssl,
                           context->options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (file && lib.SSL_CTX_load_verify_file(context->ssl, file) != 1)
        return refuse(file, why(), reason, size);
    if (!file && lib.SSL_CTX_set_default_verify_paths(context->ssl) != 1)
        return refuse("the system's certificates", why(), reason, size);
    return 0;
}

static int identify(struct ftl__tls_context *context, char *reason, size_t size)
{
    const char *cert = context->options.cert_file;
    const char *key = context->options.key_file ? context->options.key_file : cert;
    if (!cert)
        return 0;
    if (lib.SSL_CTX_use_certificate_chain_file(context->ssl, cert) != 1)
        return refuse(cert, why(), reason, size);
    /* OpenSSL's words for these tell of its decoders, not of the file. */
    if (lib.SSL_CTX_use_PrivateKey_file(context->ssl, key, SSL_FILETYPE_PEM) != 1)
        return refuse(key, "has no private key for the certificate that can be read", reason, size);
    return 0;
}

static int fill(struct ftl__tls_context *context, const struct ftl__tls_options *options,
                char *reason, size_t size)
{
    if (copy_options(&context->options, options))
        context->ssl = lib.SSL_CTX_new(lib.TLS_client_method());
    if (!context->ssl) {
        snprintf(reason, size, "%s", ftl_error_text(FTL_ENOMEM));
        return FTL_ENOMEM;
    }
    lib.SSL_CTX_ctrl(context->ssl, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    lib.SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION);
    lib.SSL_CTX_ctrl(context->ssl, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
    int rc = trust(context, reason, size);
    return rc == 0 ? identify(context, reason, size) : rc;
}

int ftl__tls_context_new(const struct ftl__tls_options *options,
                         struct ftl__tls_context **ret_context, char *reason, size_t reason_size)
{
    const char *error = load_once();
    if (error) {
        snprintf(reason, reason_size, "%s", error);
        return FTL_EINVAL;
    }
    struct ftl__tls_context *context = calloc(1, sizeof *context);
    if (!context) {
        snprintf(reason, reason_size, "%s", ftl_error_text(FTL_ENOMEM));
        return FTL_ENOMEM;
    }
    lib.ERR_clear_error();
    int rc = fill(context, options, reason, reason_size);
    if (rc == 0)
        *ret_context = context;
    else
        ftl__tls_context_free(context);
    return rc;
}

void ftl__tls_context_free(struct ftl__tls_context *context)
{
    if (!context)
        return;
    lib.SSL_CTX_free(context->ssl);
    free(context->options.ca_file);
    free(context->options.cert_file);
    free(context->options.key_file);
    free(context->options.server_name);
    free(context);
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool ftl__tls_context_equal(const struct ftl__tls_context *a, const struct ftl__tls_context *b)
{
    if (!a || !b)
        return a == b;
    return a->options.verify == b->options.verify && same(a->options.ca_file, b->options.ca_file) &&
           same(a->options.cert_file, b->options.cert_file) &&
           same(a->options.key_file, b->options.key_file) &&
           same(a->options.server_name, b->options.server_name);
}

/* ---- one connection ---------------------------------------------------------------------- */

/* The name that the certificate must have; a literal address is looked for, but not asked for. */
static bool name_peer(SSL *ssl, const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];
    if (lib.SSL_set1_host(ssl, name) != 1)
        return false;
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return true;
    return lib.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                        (void *)(uintptr_t)name) == 1; /* it copies the name */
}

static bool start(struct ftl__tls *tls, const struct ftl__tls_context *context, const char *host)
{
    tls->ssl = lib.SSL_new(context->ssl);
    tls->in = lib.BIO_new(lib.BIO_s_mem());
    tls->out = lib.BIO_new(lib.BIO_s_mem());
    if (!tls->ssl || !tls->in || !tls->out) {
        lib.BIO_free(tls->in);
        lib.BIO_free(tls->out);
        return false;
    }
    lib.SSL_set0_rbio(tls->ssl, tls->in);
    lib.SSL_set0_wbio(tls->ssl, tls->out);
    lib.SSL_set_connect_state(tls->ssl);
    return name_peer(tls->ssl, context->options.server_name ? context->options.server_name : host);
}

int ftl__tls_open(const struct ftl__tls_context *context, const char *host,
                  struct ftl__tls **ret_tls)
{
    struct ftl__tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return FTL_ENOMEM;
    if (!start(tls, context, host)) {
        lib.ERR_clear_error();
        ftl__tls_close(tls);
        return FTL_ENOMEM;
    }
    *ret_tls = tls;
    return 0;
}

void ftl__tls_close(struct ftl__tls *tls)
{
    if (!tls)
        return;
    lib.SSL_free(tls->ssl);
    free(tls);
}

/* What a call that has not succeeded means. */
static int judge(struct ftl__tls *tls, int result)
{
    int error = lib.SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return FTL_EAGAIN;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : FTL_EPROTO;
}

/* An alert of the peer, say, who wants a certificate: with TLS 1.3 it comes after the handshake. */
static int broken(struct ftl__tls *tls)
{
    snprintf(tls->reason, sizeof tls->reason, "TLS: %s", why());
    return FTL_EPROTO;
}

const char *ftl__tls_reason(const struct ftl__tls *tls)
{
    return tls->reason;
}

int ftl__tls_handshake(struct ftl__tls *tls, char *reason, size_t reason_size)
{
    lib.ERR_clear_error();
    int result = lib.SSL_do_handshake(tls->ssl);
    if (result == 1)
        return 0;
    int rc = judge(tls, result);
    if (rc == FTL_EAGAIN)
        return rc;
    long verdict = lib.SSL_get_verify_result(tls->ssl);
    snprintf(reason, reason_size, "TLS: %s",
             verdict != X509_V_OK ? lib.X509_verify_cert_error_string(verdict) : why());
    lib.ERR_clear_error();
    return FTL_EPROTO;
}

int ftl__tls_feed(struct ftl__tls *tls, const void *bytes, size_t size)
{
    for (const char *at = bytes; size > 0;) {
        int part = size < (1 << 30) ? (int)size : 1 << 30;
        int written = lib.BIO_write(tls->in, at, part);
        if (written <= 0)
            return FTL_ENOMEM;
        at += written;
        size -= (size_t)written;
    }
    return 0;
}

ssize_t ftl__tls_read(struct ftl__tls *tls, void *bytes, size_t size)
{
    size_t count;
    lib.ERR_clear_error();
    int result = lib.SSL_read_ex(tls->ssl, bytes, size, &count);
    if (result == 1)
        return (ssize_t)count;
    int rc = judge(tls, result);
    return rc == FTL_EPROTO ? broken(tls) : rc;
}

int ftl__tls_write(struct ftl__tls *tls, const void *bytes, size_t size)
{
    size_t count;
    lib.ERR_clear_error();
    if (size > 0 && lib.SSL_write_ex(tls->ssl, bytes, size, &count) != 1)
        return broken(tls); /* a memory BIO takes all or has no memory */
    return 0;
}

size_t ftl__tls_take(struct ftl__tls *tls, void *bytes, size_t size)
{
    int count = lib.BIO_read(tls->out, bytes, size < (1 << 30) ? (int)size : 1 << 30);
    return count > 0 ? (size_t)count : 0;
}

#else /* without OpenSSL there is no context, so nothing else is ever called */

int ftl__tls_context_new(const struct ftl__tls_options *options,
                         struct ftl__tls_context **ret_context, char *reason, size_t reason_size)
{
    (void)options, (void)ret_context;
    snprintf(reason, reason_size, "fettle was built without TLS");
    return FTL_EINVAL;
}

void ftl__tls_context_free(struct ftl__tls_context *context)
{
    (void)context;
}

bool ftl__tls_context_equal(const struct ftl__tls_context *a, const struct ftl__tls_context *b)
{
    return a == b;
}

int ftl__tls_open(const struct ftl__tls_context *context, const char *host,
                  struct ftl__tls **ret_tls)
{
    (void)context, (void)host, (void)ret_tls;
    return FTL_EINVAL;
}

void ftl__tls_close(struct ftl__tls *tls)
{
    (void)tls;
}

int ftl__tls_handshake(struct ftl__tls *tls, char *reason, size_t reason_size)
{
    (void)tls, (void)reason, (void)reason_size;
    return FTL_EPROTO;
}

const char *ftl__tls_reason(const struct ftl__tls *tls)
{
    (void)tls;
    return "";
}

int ftl__tls_feed(struct ftl__tls *tls, const void *bytes, size_t size)
{
    (void)tls, (void)bytes, (void)size;
    return FTL_EPROTO;
}

ssize_t ftl__tls_read(struct ftl__tls *tls, void *bytes, size_t size)
{
    (void)tls, (void)bytes, (void)size;
    return FTL_EPROTO;
}

int ftl__tls_write(struct ftl__tls *tls, const void *bytes, size_t size)
{
    (void)tls, (void)bytes, (void)size;
    return FTL_EPROTO;
}

size_t ftl__tls_take(struct ftl__tls *tls, void *bytes, size_t size)
{
    (void)tls, (void)bytes, (void)size;
    return 0;
}

#endif
