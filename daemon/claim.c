/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Rounds take turns. When the answer of one has come, the next is begun before the jobs of
 * the first are handed out, and sent before that, too, so that Redis works while we do. With much
 * to do two are under way at a time. A claim is made
 *
 *   - if we are hungry: the last one brought all it asked for, or something has landed in a front,
 *     or a queue that was at its bound may have room again, or a tick has seen jobs (which is how
 *     queues beyond the waiters, and fronts, are looked at);
 *   - and there is room: at once for half of the concurrency; for less, when runs are short, only
 *     after a millisecond in which more may come free, since a claim costs the same for 1 job and
 *     100. Short runs are claimed by halves, so that one half is claimed while the other runs.
 *
 * While an answer is awaited, the next claim is sent as soon as there is room for it, so that Redis
 * finds it when it has done the first and does not sleep in between: a tenth to a quarter more jobs
 * a second at batches of 128. Not at the same moment, since Redis reads both then, and answers both when it
 * has done both. Nor behind a large answer: Redis writes 64 KiB of it, looks at what has come,
 * executes that, and goes on writing. Hence claims of MAX_BRISK, unless many of them make up the
 * concurrency.
 *
 * When a claim leaves queues empty and there is room, the waiters are armed. An ack never waits for
 * a claim. The task owns the rounds; everything else it uses is shared with tasks that never run
 * in parallel to it. After an error it pauses; a claim that may have been executed without an
 * answer is found by the audit that follows every reconnection, and comes twice a minute anyway, but
 * for times at which a tick finds that Redis holds no batch of ours. */
#include "daemon/claim.h"

#include <stdlib.h>

#include "daemon/audit.h"
#include "daemon/part.h"
#include "daemon/tick.h"

#define SHARES 2            /* of the concurrency; and how many rounds are under way at most */
#define ROUNDS (SHARES + 1) /* the one more is that whose jobs are handed out */
#define MAX_JOBS 1000
#define MAX_BRISK 256 /* of short runs */
#define PATIENCE FTL_MS
#define SPACING (FTL_MS / 10) /* between two claims, so that Redis reads them apart */
#define LARGE (48 << 10)      /* bytes of the jobs in an answer */
#define PAUSE_ERROR FTL_S
#define PAUSE_FENCED (100 * FTL_MS)
#define AUDIT_AGAIN (5 * FTL_S) /* what the server had still unread of the old connection */
#define AUDIT_PERIOD (FTL__HISTORY_KEEP / 2)

struct ftl__claim {
    struct ftl__claim_options options;
    struct ftl__round_context *context; /* of the options */
    struct ftl_notify *wake;
    struct ftl_task *task;
    struct ftl__round rounds[ROUNDS];
    unsigned oldest, under_way; /* rounds[oldest] was begun first */
    bool hungry, held_back, quiet;
    bool deep;           /* the last claim brought all it asked for */
    bool audit_due;
    bool anew; /* there has been no audit over this connection */
    bool unsure; /* a claim without an answer may have been executed: the next audit tells */
    bool large;  /* so was the last answer */
    int64_t begun_at;    /* the last round */
    int64_t audit_again; /* the next look, if a tick finds batches then */
    int64_t room_since; /* when room for less than a share was first seen; 0 = not */
};

/* ---- what others call ------------------------------------------------------------------------ */

void ftl__claim_wake(struct ftl__claim *claim)
{
    if (claim->held_back)
        claim->hungry = true;
    ftl_notify_one(claim->wake);
}

void ftl__claim_hungry(struct ftl__claim *claim)
{
    claim->hungry = true;
    ftl_notify_one(claim->wake);
}

void ftl__claim_reconnected(struct ftl__claim *claim)
{
    claim->audit_due = claim->anew = true;
    claim->audit_again = ftl_deadline(AUDIT_AGAIN);
    ftl__claim_hungry(claim);
}

/* What the audit of this connection may ask for is kept, however long the last one is over. */
static void forget_ends(struct ftl__claim *claim, int64_t now)
{
    if (ftl__link_is_up(claim->context->link) && !claim->anew && !claim->audit_due)
        ftl__history_expire(&claim->context->ledger->history, now);
}

void ftl__claim_told(struct ftl__claim *claim, const struct ftl__tick *tick)
{
    int64_t now = ftl_now();
    bool audit = now >= claim->audit_again;

    if (audit)
        claim->audit_again = now + AUDIT_PERIOD;
    claim->audit_due |= audit && tick->batches > 0;
    forget_ends(claim, now);
    claim->hungry |= tick->work;
    if (claim->audit_due || claim->hungry || tick->resumed)
        ftl_notify_one(claim->wake);
}

void ftl__claim_quiet(struct ftl__claim *claim)
{
    claim->quiet = true;
    ftl_notify_one(claim->wake);
}

void ftl__claim_set_concurrency(struct ftl__claim *claim, uint32_t concurrency)
{
    claim->options.concurrency = concurrency;
    ftl__claim_hungry(claim);
}

bool ftl__claim_is_settled(const struct ftl__claim *claim)
{
    bool settled = !claim->unsure;

    for (unsigned i = 0; i < ROUNDS; i++)
        settled = settled && claim->rounds[i].asked == 0;
    return settled;
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* How much a claim of short runs asks for, and what it waits for. */
static uint32_t share_of(uint32_t concurrency)
{
    uint32_t share = concurrency / SHARES, most = concurrency / 8;

    most = most < MAX_BRISK ? MAX_BRISK : most > MAX_JOBS ? MAX_JOBS : most;
    return share > most ? most : share > 0 ? share : 1;
}

/* How many jobs a claim should ask for now; 0: none. *ret_until: when to look again at the latest,
 * if it is for want of patience only. */
static uint32_t wanted(struct ftl__claim *claim, int64_t *ret_until)
{
    uint32_t room, share = share_of(claim->options.concurrency);
    bool brisk;

    if (claim->quiet || claim->audit_due || !claim->hungry)
        return 0;
    if (claim->under_way > 0 && !claim->large && ftl_now() < claim->begun_at + SPACING) {
        *ret_until = claim->begun_at + SPACING;
        return 0;
    }
    room = ftl__dispatch_room(claim->context->dispatch);
    brisk = ftl__dispatch_is_brisk(claim->context->dispatch);
    if (room == 0 || room >= share || !brisk) {
        claim->room_since = 0;
    } else {
        int64_t now = ftl_now();
        if (claim->room_since == 0)
            claim->room_since = now;
        if (now < claim->room_since + PATIENCE) {
            *ret_until = claim->room_since + PATIENCE;
            return 0;
        }
        claim->room_since = 0;
    }
    if (brisk && room > share)
        return share;
    return room < MAX_JOBS ? room : MAX_JOBS;
}

static void arm_waiters(struct ftl__claim *claim)
{
    struct ftl__dispatch *dispatch = claim->context->dispatch;

    if (!claim->quiet && !claim->hungry && ftl__dispatch_room(dispatch) > 0)
        ftl__wait_arm(claim->options.wait, ftl_now(), ftl__dispatch_park_room(dispatch));
}

static void tell_settled(struct ftl__claim *claim)
{
    if (claim->quiet && ftl__claim_is_settled(claim))
        claim->options.on_settled(claim->options.arg);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Begins a round if there is anything to say. */
static bool begin_one(struct ftl__claim *claim, int64_t *ret_until)
{
    struct ftl__round *round = &claim->rounds[(claim->oldest + claim->under_way) % ROUNDS];
    bool held_back;

    if (claim->under_way == SHARES || claim->audit_due ||
        !ftl__round_begin(round, wanted(claim, ret_until), &held_back))
        return false;
    if (round->claiming) {
        claim->held_back = held_back;
        claim->hungry = claim->deep; /* what lands from now on may be too late for this one */
    }
    claim->under_way++;
    claim->begun_at = ftl_now();
    return true;
}

static bool begin(struct ftl__claim *claim, int64_t *ret_until)
{
    bool any = false;

    while (begin_one(claim, ret_until))
        any = true;
    return any;
}

static int pause_after(struct ftl__claim *claim, int code)
{
    if (code == FTL_ECONN || code == FTL_ETIMEDOUT)
        return ftl__link_wait_up(claim->context->link, ftl_deadline(PAUSE_ERROR));
    if (code == FTL_EFENCED)
        return ftl_sleep(PAUSE_FENCED);
    return ftl_sleep(PAUSE_ERROR);
}

/* Nobody knows what was claimed. Most of these break the connection, and the next one begins with an
 * audit; after an error of Redis', which leaves it up, one is due here. */
static bool is_lost(int code)
{
    return code == FTL_ECONN || code == FTL_ETIMEDOUT || code == FTL_EPROTO;
}

/* Until the answer of the oldest round has come; if there is room for another claim before that, it
 * is sent behind, so that Redis does not sleep between the two. One of short runs is sent for a share only:
 * its patience begins anew at the second look, in begin_one(). */
static int await_with_another(struct ftl__claim *claim, struct ftl__round *round)
{
    int64_t deadline, until;
    int code = 0;

    while (claim->under_way < SHARES && !claim->large && code != FTL_ECANCELED &&
           ftl__round_is_pending(round, claim->wake, &deadline) && ftl_now() < deadline) {
        until = deadline;
        if (wanted(claim, &until) == 0 || !begin_one(claim, &until))
            code = ftl_notify_wait(claim->wake, until);
    }
    return code == FTL_ECANCELED ? code : 0;
}

static int finish(struct ftl__claim *claim)
{
    struct ftl__round *round = &claim->rounds[claim->oldest];
    struct ftl__round_result result;
    bool claimed = round->claiming;
    int64_t until;
    int code = await_with_another(claim, round);

    if (code == 0)
        code = ftl__round_await(round, &result);
    if (code == FTL_ECANCELED)
        return code;
    claim->oldest = (claim->oldest + 1) % ROUNDS;
    claim->under_way--;
    if (claimed) {
        claim->deep = result.more;
        claim->large = result.bytes > LARGE;
        claim->hungry |= round->reply == NULL || result.more;
        claim->unsure |= round->reply == NULL && is_lost(code);
        claim->audit_due |= claim->unsure;
    }
    if (code == 0 && begin(claim, &until))
        code = ftl_yield(); /* another task writes it: now, not after all that follows */
    if (ftl__round_deliver(round) != 0) {
        claim->unsure = true;
        ftl__link_break(claim->context->link, "jobs were claimed that there is no memory for");
    }
    claim->held_back |= round->put_back;
    tell_settled(claim);
    return code == 0 ? 0 : pause_after(claim, code);
}

/* ---- the task -------------------------------------------------------------------------------- */

static int audit(struct ftl__claim *claim)
{
    int code = ftl__audit(claim->context, claim->anew);

    if (code != 0)
        return pause_after(claim, code);
    claim->audit_due = claim->unsure = claim->anew = false;
    tell_settled(claim);
    return 0;
}

/* Nothing is under way: begins something, or sleeps until there is a reason to. */
static int rest(struct ftl__claim *claim)
{
    int64_t until;
    int code;

    if (claim->context->ledger->id[0] == '\0')
        return ftl_notify_wait(claim->wake, FTL_FOREVER);
    if (!ftl__link_is_up(claim->context->link)) {
        code = ftl__link_wait_up(claim->context->link, FTL_FOREVER);
        return code;
    }
    if (claim->audit_due)
        return audit(claim);
    until = FTL_FOREVER;
    if (begin(claim, &until))
        return 0;
    arm_waiters(claim);
    code = ftl_notify_wait(claim->wake, until);
    return code;
}

static void *claim_main(void *arg)
{
    struct ftl__claim *claim = arg;
    int code;

    do
        code = claim->under_way > 0 ? finish(claim) : rest(claim);
    while (code != FTL_ECANCELED);
    return NULL;
}

int ftl__claim_open(const struct ftl__claim_options *options, struct ftl__claim **ret_claim)
{
    struct ftl__claim *claim = calloc(1, sizeof *claim);
    int code = FTL_ENOMEM;

    if (claim == NULL)
        return FTL_ENOMEM;
    claim->options = *options;
    claim->context = &claim->options.context;
    claim->hungry = true;
    claim->audit_again = ftl_deadline(AUDIT_PERIOD);
    for (unsigned i = 0; i < ROUNDS; i++)
        ftl__round_init(&claim->rounds[i], claim->context);
    claim->wake = ftl_notify_new();
    if (claim->wake != NULL)
        code = ftl__part_start(options->runtime, claim_main, claim, "claim", &claim->task);
    if (code == 0)
        *ret_claim = claim;
    else
        ftl__claim_close(claim);
    return code;
}

void ftl__claim_close(struct ftl__claim *claim)
{
    if (claim == NULL)
        return;
    ftl__part_stop(&claim->task, FTL_S);
    for (unsigned i = 0; i < ROUNDS; i++)
        ftl__round_free(&claim->rounds[i]);
    ftl_notify_free(claim->wake);
    free(claim);
}

bool ftl__claim_has_failed(struct ftl__claim *claim)
{
    return ftl__part_has_failed(&claim->task);
}
