/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Everything that can fail comes first: the file, what may not change, the handlers and their
 * processes (those of a handler that is the same stay), then memory for queues and bounds. Only then is anything put in force, so that a refused reload leaves
 * the old configuration as it was. Runs that have begun keep their handlers, which are counted
 * references. Loading a module takes the control thread for as long as its constructors do. */
#include "daemon/daemon.h"

#include <stdio.h>

#include "daemon/address.h"
#include "daemon/log.h"

#define ERROR_SIZE 1024

static int read_config(const struct ftl__daemon *daemon, struct ftl__config **ret_config,
                       char *error)
{
    if (daemon->dev != NULL)
        return ftl__config_parse(ftl__dev_config(daemon->dev), "--dev", ret_config, error,
                                 ERROR_SIZE);
    return ftl__config_read(daemon->options->config, ret_config, error, ERROR_SIZE);
}

static int check_fixed(const struct ftl__daemon *daemon, const struct ftl__config *config,
                       char *error)
{
    const char *key = ftl__config_fixed_difference(daemon->started, config);

    if (key == NULL)
        return 0;
    snprintf(error, ERROR_SIZE, "%s: %s: cannot change in a running daemon", config->file, key);
    return FTL_EINVAL;
}

/* With the old configuration nothing of this can fail: its queues and bounds are there. */
static int apply_bounds(struct ftl__daemon *daemon, const struct ftl__config *config,
                        struct ftl__registry *registry)
{
    int code = ftl__queues_configure(&daemon->queues, config);

    if (code == 0)
        code = ftl__dispatch_configure(daemon->dispatch, registry, config->concurrency,
                                       config->max_payload);
    return code;
}

static void put_in_force(struct ftl__daemon *daemon, struct ftl__config *config,
                         struct ftl__registry *registry)
{
    /* The links use them when they connect the next time. */
    ftl__address_swap_passwords(&daemon->started->redis, &config->redis);
    ftl__log_configure(config->log_level, config->log_format, config->log_jobs);
    ftl__settle_set_unroutable_ttl(daemon->settle, config->unroutable_ttl);
    ftl__promote_set_dead(daemon->promote, config->dead_max_jobs, config->dead_max_age);
    ftl__roster_set_config(daemon->roster, config);
    if (daemon->config != daemon->started)
        ftl__config_free(daemon->config);
    ftl__registry_free(daemon->registry);
    daemon->config = config;
    ftl__daemon_set_patience(daemon);
    daemon->registry = registry;
    ftl__quarantine_set_ttl(daemon->quarantine, config->isolation_ttl);
    ftl__quarantine_apply(daemon->quarantine);
    /* A queue without a waiter is looked at once a second. */
    if (!daemon->quiet)
        (void)ftl__wait_configure(daemon->wait, &daemon->queues);
    ftl_runtime_set_blocking_max(daemon->jobs, ftl__daemon_blocking_max(config->concurrency));
    ftl__claim_set_concurrency(daemon->claim, config->concurrency);
}

static int reload(struct ftl__daemon *daemon, char *error)
{
    struct ftl__config *config = NULL;
    struct ftl__registry *registry = NULL;
    int code = read_config(daemon, &config, error);

    if (code == 0)
        code = check_fixed(daemon, config, error);
    if (code == 0)
        code = ftl__config_handlers(config, &registry, error, ERROR_SIZE);
    if (code != 0)
        goto refused;
    ftl__registry_keep(registry, daemon->registry);
    code = ftl__daemon_start_handlers(daemon, registry);
    if (code == 0)
        code = apply_bounds(daemon, config, registry);
    if (code != 0) {
        (void)apply_bounds(daemon, daemon->config, daemon->registry);
        snprintf(error, ERROR_SIZE, "%s", ftl_error_text(code));
        goto refused;
    }
    put_in_force(daemon, config, registry);
    return 0;
refused:
    ftl__registry_free(registry);
    ftl__config_free(config);
    return code;
}

void ftl__daemon_reload(struct ftl__daemon *daemon)
{
    char error[ERROR_SIZE] = "";

    if (daemon->ready)
        ftl__notify_reloading();
    if (reload(daemon, error) != 0)
        ftl__log(FTL__EV_CONFIG_REFUSED, FTL__STR("config", daemon->config->file),
                 FTL__STR("reason", error));
    else
        ftl__log(FTL__EV_CONFIG_RELOADED, FTL__STR("config", daemon->config->file),
                 FTL__UINT("queues", daemon->config->queue_count),
                 FTL__UINT("handlers", daemon->config->handler_count));
    if (daemon->ready)
        ftl__notify_ready();
    ftl__daemon_show_status(daemon);
}
