/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Who needs whom is the order in which the parts are opened; they are closed backwards, and
 * each is ready to be closed while it is NULL, so that a failed start is a stop. What parts tell
 * each other against that order goes through the callbacks here: they set something and wake
 * somebody, and never wait. */
#include "daemon/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/log.h"
#include "daemon/report.h"
#include "daemon/server.h"
#include "daemon/tick.h"

#define SERVER_TIMEOUT (5 * FTL_S)
#define LEASE_STALLS (20 * FTL_S) /* its task turns at least every 6 s */

/* ---- what parts tell each other -------------------------------------------------------------- */

/* Once the daemon works it does not end because of a failover: it waits for another server. */
static int refuse(struct ftl__daemon *daemon, struct ftl__link *link, const char *key,
                  const char *reason)
{
    if (!daemon->ready) {
        daemon->refused_key = key;
        snprintf(daemon->refused, sizeof daemon->refused, "%s", reason);
        ftl_notify_one(daemon->changed);
    }
    ftl__link_break(link, reason);
    return FTL_EINVAL;
}

static int look_at_server(struct ftl__daemon *daemon, struct ftl__link *link)
{
    char reason[128];
    int code = ftl__server_check(link, ftl_deadline(SERVER_TIMEOUT), reason, sizeof reason);

    return code == FTL_EINVAL ? refuse(daemon, link, "redis", reason) : code;
}

/* Told again only when it is different: on another server, or after a change of its settings.
 * With require_durable nothing is claimed from a server that does not pass at the start. */
static int look_at_durability(struct ftl__daemon *daemon, struct ftl__link *link)
{
    struct ftl__durability durability;
    char reason[sizeof daemon->refused];
    int code;

    if (daemon->dev != NULL)
        return 0;
    code = ftl__durability_read(link, ftl_deadline(SERVER_TIMEOUT), &durability);
    if (code != 0)
        return code;
    if (!ftl__durability_equal(&durability, &daemon->durability))
        ftl__durability_tell(&durability);
    daemon->durability = durability;
    if (!daemon->started->require_durable || daemon->ready)
        return 0;
    ftl__durability_explain(&durability, reason, sizeof reason);
    return reason[0] != '\0' ? refuse(daemon, link, "require_durable", reason) : 0;
}

/* It is one attempt after the other that fails: only what is new is shown. */
static void show_trouble(struct ftl__daemon *daemon, const char *reason)
{
    if (strcmp(daemon->trouble, reason) == 0)
        return;
    snprintf(daemon->trouble, sizeof daemon->trouble, "%s", reason);
    if (!daemon->draining)
        ftl__daemon_show_status(daemon);
}

static int on_work_up(void *arg, struct ftl__link *link)
{
    struct ftl__daemon *daemon = arg;
    int code = look_at_server(daemon, link);

    if (code == 0)
        code = ftl__scripts_on_up(daemon->scripts, link);
    if (code == 0)
        code = look_at_durability(daemon, link);
    if (code == 0 && daemon->claim != NULL)
        ftl__claim_reconnected(daemon->claim);
    if (code == 0)
        show_trouble(daemon, "");
    return code;
}

static void on_work_down(void *arg, const char *reason)
{
    show_trouble(arg, reason);
}

static void on_registered(void *arg, const char *id)
{
    struct ftl__daemon *daemon = arg;

    ftl__ledger_registered(&daemon->ledger, id);
    if (daemon->claim != NULL)
        ftl__claim_hungry(daemon->claim);
    ftl_notify_one(daemon->changed);
}

static void on_fenced(void *arg, const char *id)
{
    struct ftl__daemon *daemon = arg;

    (void)id;
    ftl__ledger_fenced(&daemon->ledger);
    if (daemon->dispatch != NULL)
        ftl__dispatch_fenced(daemon->dispatch);
}

/* The main task looks at the parts now and then. */
static void on_turn(void *arg, const struct ftl__tick *tick)
{
    struct ftl__daemon *daemon = arg;

    ftl_notify_one(daemon->changed);
    ftl__quarantine_look(daemon->quarantine);
    if (tick == NULL)
        return;
    if (daemon->claim != NULL)
        ftl__claim_told(daemon->claim, tick);
    if (daemon->promote != NULL)
        ftl__promote_told(daemon->promote, tick);
    if (daemon->roster != NULL)
        ftl__roster_told(daemon->roster, tick);
}

static void hurry_lease(void *arg)
{
    struct ftl__daemon *daemon = arg;

    ftl__lease_hurry(daemon->lease);
}

static void wake_claim(void *arg)
{
    struct ftl__daemon *daemon = arg;

    if (daemon->claim != NULL)
        ftl__claim_wake(daemon->claim);
}

static void on_settled(void *arg)
{
    struct ftl__daemon *daemon = arg;

    ftl_notify_one(daemon->changed);
}

static void on_cancels(void *arg)
{
    struct ftl__daemon *daemon = arg;

    if (daemon->dispatch != NULL && ftl__marks_any(&daemon->cancels))
        ftl__dispatch_cancel(daemon->dispatch);
}

static void on_faulted(void *arg)
{
    struct ftl__daemon *daemon = arg;

    if (daemon->quarantine != NULL)
        ftl__quarantine_marked(daemon->quarantine);
}

static void on_run_fault(void *arg, const struct ftl_run *run, const struct ftl_panic *panic)
{
    struct ftl__daemon *daemon = arg;

    if (panic != NULL) { /* which was counted where it happened */
        ftl__report_fault(run, panic);
    } else if (!run->lost) {
        ftl__report_child_fault(run);
        ftl__faults_count(&daemon->faults, run->failure.error_class);
    }
    ftl__quarantine_add(daemon->quarantine, run->class,
                        panic != NULL ? panic->fault : run->failure.error_class);
}

static bool isolate(void *arg, const char *class, bool isolated)
{
    struct ftl__daemon *daemon = arg;
    struct ftl__handler *handler =
        ftl__registry_find(daemon->registry, class, strlen(class));

    return handler != NULL && handler->kind->isolate != NULL &&
           handler->kind->isolate(handler, class, isolated);
}

static void on_work(void *arg)
{
    struct ftl__daemon *daemon = arg;

    if (daemon->claim != NULL)
        ftl__claim_hungry(daemon->claim);
}

static void on_less(void *arg)
{
    struct ftl__daemon *daemon = arg;

    if (daemon->dispatch != NULL)
        ftl__dispatch_nudge(daemon->dispatch);
    if (daemon->draining && daemon->ledger.batches == 0)
        ftl_notify_one(daemon->changed);
}

static void ask(struct ftl__daemon *daemon, int signal, const char *by)
{
    if (signal == SIGTERM || signal == SIGINT) {
        if (daemon->restart) { /* it is a stop now */
            daemon->restart = false;
            ftl__notify_stopping();
        } else if (daemon->stop_reason != NULL) {
            daemon->stop_now = true;
            if (daemon->dispatch != NULL)
                ftl__dispatch_interrupt(daemon->dispatch);
        }
        daemon->stop_reason = by;
    } else if (signal == SIGTSTP) {
        daemon->quiet_reason = by;
    } else if (signal == SIGHUP) {
        daemon->reload_due = true;
    } else if (signal == SIGTTIN) {
        daemon->dump_due = true;
    }
    ftl_notify_one(daemon->changed);
}

static void on_signal(void *arg, int signal)
{
    ask(arg, signal, ftl__signal_name(signal));
}

static void on_dashboard(void *arg, int signal)
{
    ask(arg, signal, "dashboard");
}

static bool is_alive(void *arg)
{
    struct ftl__daemon *daemon = arg;

    return daemon->lease == NULL || ftl_now() - ftl__lease_progress(daemon->lease) < LEASE_STALLS;
}

static bool is_busy(void *arg)
{
    struct ftl__daemon *daemon = arg;

    return daemon->dispatch != NULL && ftl__dispatch_running(daemon->dispatch) > 0;
}

/* ---- what the roster shows ------------------------------------------------------------------- */

static void roster_state(void *arg, struct ftl__roster_state *ret_state)
{
    struct ftl__daemon *daemon = arg;
    struct ftl__dispatch_stats stats = ftl__dispatch_stats(daemon->dispatch);

    *ret_state = (struct ftl__roster_state){
        .busy = ftl__dispatch_running(daemon->dispatch),
        .quiet = daemon->quiet,
        .processed = stats.processed,
        .failed = stats.failed,
    };
}

struct listing {
    const struct ftl__clock *clock;
    struct ftl__roster_run *runs;
    size_t count, max;
};

static bool list_run(void *arg, const struct ftl__slot *slot)
{
    struct listing *listing = arg;

    if (listing->count == listing->max)
        return false;
    listing->runs[listing->count++] = (struct ftl__roster_run){
        .token = slot->run.token,
        .queue = slot->run.queue,
        .bytes = slot->run.bytes,
        .size = slot->run.size,
        .started_at = ftl__clock_epoch(listing->clock, slot->since),
    };
    return true;
}

static size_t roster_runs(void *arg, struct ftl__roster_run *ret_runs, size_t max)
{
    struct ftl__daemon *daemon = arg;
    struct listing listing = {&daemon->clock, ret_runs, 0, max};

    ftl__dispatch_each(daemon->dispatch, list_run, &listing);
    return listing.count;
}

/* ---- handlers -------------------------------------------------------------------------------- */

int ftl__daemon_start_handlers(struct ftl__daemon *daemon, struct ftl__registry *registry)
{
    const struct ftl__handler_host host = {.runtime = daemon->jobs,
                                           .on_worker = ftl__report_worker};

    return ftl__registry_start(registry, &host);
}

static int open_handlers(struct ftl__daemon *daemon)
{
    return ftl__daemon_start_handlers(daemon, daemon->registry);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_books(struct ftl__daemon *daemon)
{
    uint64_t seed;
    int code;

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)ftl_now();
    ftl__clock_init(&daemon->clock);
    ftl__marks_init(&daemon->cancels);
    daemon->cancels.on_change = on_cancels;
    daemon->cancels.arg = daemon;
    ftl__marks_init(&daemon->faulted);
    daemon->faulted.on_change = on_faulted;
    daemon->faulted.arg = daemon;
    ftl__ledger_init(&daemon->ledger);
    daemon->ledger.on_less = on_less;
    daemon->ledger.arg = daemon;
    ftl__slots_init(&daemon->slots);
    daemon->changed = ftl_notify_new();
    if (daemon->changed == NULL)
        return FTL_ENOMEM;
    code = ftl__keys_open(daemon->config->prefix, &daemon->keys);
    if (code == 0)
        code = ftl__queues_init(&daemon->queues, daemon->keys, daemon->config, seed);
    if (code == 0)
        code = ftl__scripts_open(&daemon->scripts);
    return code;
}

static int open_outside(struct ftl__daemon *daemon)
{
    const struct ftl__notify_options notify = {
        .control = daemon->control, .jobs = daemon->jobs, .is_alive = is_alive,
        .is_busy = is_busy, .arg = daemon};
    const struct ftl__signals_options signals = {
        .runtime = daemon->control, .on_signal = on_signal, .arg = daemon};
    int code = ftl__notify_open(&notify, &daemon->notify);

    return code != 0 ? code : ftl__signals_open(&signals, &daemon->signals);
}

/* Several attempts in a lease, however short that is. */
static int64_t retry_max(double lease_ttl)
{
    return lease_ttl < 4 ? (int64_t)(lease_ttl / 4 * (double)FTL_S) : FTL_S;
}

static int open_links(struct ftl__daemon *daemon)
{
    struct ftl__link_options options = {
        .runtime = daemon->control,
        .address = &daemon->started->redis,
        .name = "work",
        .retry_max = retry_max(daemon->started->lease_ttl),
        .on_up = on_work_up,
        .on_down = on_work_down,
        .arg = daemon,
    };
    int code = ftl__link_open(&options, &daemon->work);

    options.on_up = ftl__scripts_on_up;
    options.on_down = NULL;
    options.arg = daemon->scripts;
    options.name = "beat";
    if (code == 0)
        code = ftl__link_open(&options, &daemon->beat);
    options.name = "side";
    if (code == 0)
        code = ftl__link_open(&options, &daemon->side);
    return code;
}

/* Before the first tick. */
static int open_quarantine(struct ftl__daemon *daemon)
{
    const struct ftl__quarantine_options options = {
        .runtime = daemon->control,
        .link = daemon->side,
        .scripts = daemon->scripts,
        .keys = daemon->keys,
        .clock = &daemon->clock,
        .marks = &daemon->faulted,
        .ttl = daemon->config->isolation_ttl,
        .isolate = isolate,
        .arg = daemon,
    };

    return ftl__quarantine_open(&options, &daemon->quarantine);
}

static int open_lease(struct ftl__daemon *daemon)
{
    const struct ftl__lease_options lease = {
        .runtime = daemon->control,
        .link = daemon->beat,
        .scripts = daemon->scripts,
        .keys = daemon->keys,
        .cancels = &daemon->cancels,
        .faulted = &daemon->faulted,
        .clock = &daemon->clock,
        .queues = &daemon->queues,
        .ttl = daemon->started->lease_ttl,
        .on_registered = on_registered,
        .on_fenced = on_fenced,
        .on_turn = on_turn,
        .is_busy = is_busy,
        .arg = daemon,
    };

    return ftl__lease_open(&lease, &daemon->lease);
}

static int open_way_out(struct ftl__daemon *daemon)
{
    const struct ftl__settle_options settle = {
        .runtime = daemon->control,
        .link = daemon->work,
        .scripts = daemon->scripts,
        .keys = daemon->keys,
        .lease = daemon->lease,
        .ledger = &daemon->ledger,
        .slots = &daemon->slots,
        .clock = &daemon->clock,
        .unroutable_ttl = daemon->config->unroutable_ttl,
        .tainted = &daemon->faults.tainted,
        .on_ready = wake_claim,
        .arg = daemon,
    };
    const struct ftl__dispatch_options dispatch = {
        .control = daemon->control,
        .jobs = daemon->jobs,
        .slots = &daemon->slots,
        .ledger = &daemon->ledger,
        .clock = &daemon->clock,
        .cancels = &daemon->cancels,
        .registry = daemon->registry,
        .concurrency = daemon->config->concurrency,
        .max_payload = daemon->config->max_payload,
        .on_fault = on_run_fault,
        .on_free = wake_claim,
        .on_busy = hurry_lease,
        .arg = daemon,
    };
    struct ftl__dispatch_options with_settle = dispatch;
    int code = ftl__settle_open(&settle, &daemon->settle);

    with_settle.settle = daemon->settle;
    if (code == 0)
        code = ftl__dispatch_open(&with_settle, &daemon->dispatch);
    return code != 0 ? code
                     : ftl__stalls_open(&daemon->stalls, daemon->control, daemon->dispatch);
}

static int open_way_in(struct ftl__daemon *daemon)
{
    const struct ftl__wait_options wait = {.runtime = daemon->control,
                                           .address = &daemon->started->redis,
                                           .on_work = on_work,
                                           .arg = daemon};
    struct ftl__claim_options claim = {
        .runtime = daemon->control,
        .context = {daemon->work, daemon->scripts, daemon->keys, daemon->lease, &daemon->ledger,
                    &daemon->queues, daemon->dispatch, &daemon->clock, &daemon->cancels, daemon->settle},
        .concurrency = daemon->config->concurrency,
        .on_settled = on_settled,
        .arg = daemon,
    };
    int code = ftl__wait_open(&wait, &daemon->wait);

    if (code == 0)
        code = ftl__wait_configure(daemon->wait, &daemon->queues);
    claim.wait = daemon->wait;
    return code != 0 ? code : ftl__claim_open(&claim, &daemon->claim);
}

static int open_company(struct ftl__daemon *daemon)
{
    const struct ftl__promote_options promote = {
        .runtime = daemon->control,
        .link = daemon->side,
        .scripts = daemon->scripts,
        .keys = daemon->keys,
        .cancels = &daemon->cancels,
        .lease = daemon->lease,
        .dead_max_jobs = daemon->config->dead_max_jobs,
        .dead_max_age = daemon->config->dead_max_age,
    };
    const struct ftl__roster_options roster = {
        .runtime = daemon->control,
        .link = daemon->side,
        .scripts = daemon->scripts,
        .keys = daemon->keys,
        .lease = daemon->lease,
        .config = daemon->config,
        .state = roster_state,
        .runs = roster_runs,
        .on_signal = on_dashboard,
        .arg = daemon,
    };
    int code = ftl__promote_open(&promote, &daemon->promote);

    return code != 0 ? code : ftl__roster_open(&roster, &daemon->roster);
}

int ftl__daemon_open_parts(struct ftl__daemon *daemon)
{
    static int (*const steps[])(struct ftl__daemon *daemon) = {
        open_books, open_outside, open_handlers, open_links, open_quarantine,
        open_lease, open_way_out, open_way_in,   open_company,
    };
    int code = 0;

    for (size_t i = 0; i < sizeof steps / sizeof *steps && code == 0; i++)
        code = steps[i](daemon);
    return code;
}

void ftl__daemon_close_parts(struct ftl__daemon *daemon)
{
    ftl__roster_close(daemon->roster);
    daemon->roster = NULL; /* the callbacks have nobody to tell any more */
    ftl__promote_close(daemon->promote);
    daemon->promote = NULL;
    ftl__wait_close(daemon->wait);
    ftl__claim_close(daemon->claim);
    daemon->claim = NULL;
    ftl__stalls_close(&daemon->stalls);
    ftl__dispatch_close(daemon->dispatch);
    daemon->dispatch = NULL;
    ftl__settle_close(daemon->settle);
    ftl__lease_close(daemon->lease);
    ftl__quarantine_close(daemon->quarantine);
    daemon->quarantine = NULL;
    ftl__link_close(daemon->side);
    ftl__link_close(daemon->beat);
    ftl__link_close(daemon->work);
    ftl__signals_close(daemon->signals);
    ftl__notify_close(daemon->notify);
    ftl__scripts_close(daemon->scripts);
    ftl__slots_free(&daemon->slots);
    daemon->ledger.on_less = NULL;
    ftl__ledger_free(&daemon->ledger);
    ftl__queues_free(&daemon->queues);
    ftl__keys_close(daemon->keys);
    ftl__marks_free(&daemon->cancels);
    ftl__marks_free(&daemon->faulted);
    ftl_notify_free(daemon->changed);
}
