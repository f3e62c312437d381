/* SPDX-License-Identifier: MIT
 *
 * The configuration: one libconfig file → one immutable value. Unknown keys, wrong types, numbers
 * out of range and settings without effect are errors that name file, line and key. */
#ifndef FETTLE_DAEMON_CONFIG_H
#define FETTLE_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/log.h"
#include "jobs/handler.h"
#include "runtime/tls.h"

/* Who knows where the master is: redis.sentinels, redis.master, redis.sentinel_password_file. */
struct ftl__sentinels {
    struct {
        char *host;
        uint16_t port;
    } *at;
    size_t count;
    char *master;
    char *password; /* of the sentinels, or NULL */
    struct ftl__tls_context *tls; /* the address's */
};

/* Where Redis is. From redis.url: redis://[user[:password]@]host[:port][/db], the same with
 * rediss:// for TLS, or unix:///path?db=N. Passwords also from redis.password_file or the
 * credential `redis-password` ($CREDENTIALS_DIRECTORY). */
struct ftl__address {
    char *socket; /* a path, or NULL */
    char *host;   /* or NULL */
    struct ftl__sentinels *sentinels; /* or NULL; then neither socket nor host */
    uint16_t port;
    bool secure; /* TLS is asked for */
    struct ftl__tls_context *tls; /* or NULL: plain */
    uint32_t db;
    char *user, *password; /* may be NULL */
    char *shown;           /* for logs: no password */
};

enum ftl__order { FTL__ORDER_STRICT, FTL__ORDER_WEIGHTED };

/* After a fault in a handler that may have damaged memory. */
enum ftl__on_segv { FTL__SEGV_RESTART, FTL__SEGV_CONTINUE, FTL__SEGV_DIE };

struct ftl__queue_config {
    char *name;
    uint32_t concurrency; /* 0 = no bound of its own */
    uint32_t weight;      /* ≥ 1; 1 unless order = "weighted" */
    unsigned line;
};

enum ftl__handler_type {
    FTL__HANDLER_MODULE,
    FTL__HANDLER_COMMAND,
    FTL__HANDLER_WORKER,
    FTL__HANDLER_HTTP
};

enum ftl__isolation { FTL__ISOLATION_AUTO, FTL__ISOLATION_TASK, FTL__ISOLATION_PROCESS };

struct ftl__handler_config {
    enum ftl__handler_type type;
    char *class;
    char *module;            /* MODULE */
    char **command;          /* COMMAND: argv, NULL-terminated */
    char **worker;           /* WORKER: argv, NULL-terminated */
    enum ftl__isolation isolation; /* MODULE; default AUTO */
    uint32_t processes;      /* WORKER, MODULE in processes; default 1 */
    double start_timeout;    /* the same; default 30 */
    char **env;              /* "NAME=value", NULL-terminated; never NULL for COMMAND and WORKER */
    char *cwd;               /* or NULL */
    int *dead_exit;          /* default { 65 } */
    size_t dead_exit_count;
    char *url;               /* HTTP */
    char **headers;          /* "Name: value", NULL-terminated; or NULL */
    char *headers_file;      /* or NULL */
    char *ca_file;           /* or NULL */
    bool verify;             /* default true */
    double connect_timeout;  /* default 10 */
    size_t max_response;     /* default 1 MiB */
    int *retry_status;       /* default { 408, 425, 429 } */
    size_t retry_status_count;
    double timeout;          /* 0 = none */
    double kill_after;       /* after the timeout; default 5 */
    uint32_t concurrency;    /* 0 = none */
    struct ftl_process_limits limits; /* COMMAND, WORKER, MODULE in processes */
    size_t stack_size;       /* 0 = default */
    enum ftl__blocking blocking; /* MODULE; default FTL__BLOCKING_AUTO */
    unsigned line;           /* where it stands, for later errors */
};

struct ftl__config {
    char *file; /* as given, or "--dev" */
    struct ftl__address redis;
    unsigned redis_line; /* 0: not said */
    bool require_durable;
    unsigned require_durable_line; /* 0: not said */
    char *prefix; /* "" by default; ends with nothing: keys are prefix + name */
    uint32_t concurrency;
    uint32_t workers; /* 0 = one per core */
    char *cgroup;     /* "auto", "none", or a directory */
    unsigned cgroup_line; /* 0: not said */
    enum ftl__order order;
    enum ftl__on_segv on_segv;
    struct ftl__queue_config *queues;
    size_t queue_count;
    char **module_path;
    size_t module_path_count;
    struct ftl__handler_config *handlers;
    size_t handler_count;
    double shutdown_timeout, lease_ttl, unroutable_ttl, isolation_ttl; /* seconds */
    size_t max_payload;
    uint32_t dead_max_jobs; /* 0 = never trimmed */
    double dead_max_age;    /* seconds; 0 = never trimmed */
    enum ftl__level log_level;
    enum ftl__log_format log_format;
    enum ftl__log_jobs log_jobs;
};

/* Reads and checks `file`. 0: *ret_config, freed with ftl__config_free(). FTL_EINVAL (also: the
 * file cannot be read), FTL_ENOMEM: `error` has one line "FILE:LINE: KEY: reason". */
int ftl__config_read(const char *file, struct ftl__config **ret_config, char *error,
                     size_t error_size);

/* The same from a text; `name` stands for the file in errors. */
int ftl__config_parse(const char *text, const char *name, struct ftl__config **ret_config,
                      char *error, size_t error_size);
void ftl__config_free(struct ftl__config *config); /* NULL-safe; wipes the password */

/* What a reload may not change: the name of the first such key that differs (static), or NULL. */
const char *ftl__config_fixed_difference(const struct ftl__config *old,
                                         const struct ftl__config *new);

struct ftl__registry;
/* Loads the modules and finds the commands and files of the handlers. Errors as above, with the handler's
 * line. */
int ftl__config_handlers(const struct ftl__config *config, struct ftl__registry **ret_registry,
                         char *error, size_t error_size);

#endif
