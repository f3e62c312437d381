/* SPDX-License-Identifier: MIT
 *
 * DESIGN: the only clock is our own. A look is at fettle:owners and fettle:beat, as a tick has
 * told them; an owner whose beat is the one of the last look has been silent for the time between the two. A look counts for
 * two seconds at most, and a new connection starts all over: so neither an outage of Redis nor a
 * pause of this process (or of the whole machine) makes anyone else look dead. Who was silent for
 * longer than his ttl is fenced by a script that compares the beat once more. Owners whose format
 * we do not know are left alone.
 *
 * Then every fenced owner is reaped (reap.c), no matter who has fenced him: several daemons may do
 * it at once, each call takes its own share. When that is done, and it was ourselves who had been
 * fenced, it is told that this was no death (absolve.c). */
#include "daemon/watch.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/absolve.h"
#include "daemon/format.h"
#include "daemon/lease.h"
#include "daemon/tick.h"

#define COUNTED_MAX (2 * FTL_S) /* what one look may add to a silence; also at most half a ttl */

struct peer {
    char id[FTL__ID_MAX + 1];
    char beat[24];
    char format[FTL__FORMAT_MAX + 1];
    int64_t ttl, silence; /* ns */
};

struct ftl__watch {
    struct ftl__watch_options options;
    uint64_t epoch; /* of the connection on which `peers` were seen */
    int64_t looked; /* when, last */
    struct peer *peers;
    size_t peer_count, peer_room;
    char survived[FTL__ID_MAX + 1]; /* our own that was fenced; "": none */
    struct ftl__invoke invoke;
};

int ftl__watch_open(const struct ftl__watch_options *options, struct ftl__watch **ret_watch)
{
    struct ftl__watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return FTL_ENOMEM;
    watch->options = *options;
    ftl__invoke_init(&watch->invoke);
    *ret_watch = watch;
    return 0;
}

void ftl__watch_close(struct ftl__watch *watch)
{
    if (watch == NULL)
        return;
    ftl__invoke_free(&watch->invoke);
    free(watch->peers);
    free(watch);
}

/* ---- looking ---------------------------------------------------------------------------- */

static bool is_text(const struct redisReply *reply, const char *text)
{
    return reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0;
}

/* The value of a field, or "". Both hashes mostly have the same order: begin where it was last. */
static const char *field(const struct redisReply *hash, const char *name, size_t *hint)
{
    size_t count = hash->elements / 2;
    for (size_t i = 0; i < count; i++) {
        size_t at = (*hint + i) % count;
        if (is_text(hash->element[2 * at], name)) {
            *hint = at + 1;
            return hash->element[2 * at + 1]->str;
        }
    }
    return "";
}

static struct peer *find_peer(struct ftl__watch *watch, const char *id)
{
    for (size_t i = 0; i < watch->peer_count; i++)
        if (strcmp(watch->peers[i].id, id) == 0)
            return &watch->peers[i];
    return NULL;
}

static struct peer *add_peer(struct peer **peers, size_t *count, size_t *room)
{
    if (*count == *room) {
        size_t larger = *room == 0 ? 16 : 2 * *room;
        struct peer *moved = realloc(*peers, larger * sizeof *moved);
        if (moved == NULL)
            return NULL;
        *peers = moved;
        *room = larger;
    }
    return &(*peers)[(*count)++];
}

/* "FORMAT TTL_MS" of a format that we know. */
static bool parse_owner(const char *entry, char ret_format[FTL__FORMAT_MAX + 1], int64_t *ret_ttl)
{
    size_t size = strcspn(entry, " ");
    uint64_t ms;
    if (size > FTL__FORMAT_MAX || !ftl__format_is_known(entry, size) || entry[size] != ' ' ||
        sscanf(entry + size, "%" SCNu64, &ms) != 1 || ms > INT64_MAX / FTL_MS)
        return false;
    memcpy(ret_format, entry, size);
    ret_format[size] = '\0';
    *ret_ttl = (int64_t)ms * FTL_MS;
    return true;
}

/* What the last look knew of this one, plus this look. */
static void see(struct ftl__watch *watch, struct peer *peer, const char *id, const char *beat,
                int64_t ttl, int64_t passed)
{
    const struct peer *before = find_peer(watch, id);
    *peer = (struct peer){.ttl = ttl};
    snprintf(peer->id, sizeof peer->id, "%s", id);
    snprintf(peer->beat, sizeof peer->beat, "%s", beat);
    if (before != NULL && strcmp(before->beat, peer->beat) == 0)
        peer->silence = before->silence + (passed < ttl / 2 ? passed : ttl / 2);
}

static bool can_watch(const struct redisReply *id, const char *beat, const char *self)
{
    return id->len <= FTL__ID_MAX && strlen(id->str) == id->len && strcmp(id->str, self) != 0 &&
           strlen(beat) < sizeof((struct peer *)NULL)->beat;
}

static int compare(struct ftl__watch *watch, const struct redisReply *owners,
                   const struct redisReply *beats, const char *self, int64_t passed)
{
    struct peer *peers = NULL;
    size_t count = 0, room = 0, hint = 0;
    for (size_t i = 0; i + 1 < owners->elements; i += 2) {
        const struct redisReply *id = owners->element[i];
        int64_t ttl;
        char format[FTL__FORMAT_MAX + 1];
        const char *beat = field(beats, id->str, &hint);
        if (!can_watch(id, beat, self) || !parse_owner(owners->element[i + 1]->str, format, &ttl))
            continue;
        struct peer *peer = add_peer(&peers, &count, &room);
        if (peer == NULL) {
            free(peers);
            return FTL_ENOMEM;
        }
        see(watch, peer, id->str, beat, ttl, passed);
        memcpy(peer->format, format, sizeof format);
    }
    free(watch->peers);
    watch->peers = peers;
    watch->peer_count = count;
    watch->peer_room = room;
    return 0;
}

static int look(struct ftl__watch *watch, const char *self, const struct ftl__tick *tick)
{
    int64_t now = ftl_now(), passed = now - watch->looked;
    uint64_t epoch = ftl__link_epoch(watch->options.link);
    if (epoch != watch->epoch)
        watch->peer_count = 0;
    watch->epoch = epoch;
    watch->looked = now;
    return compare(watch, tick->owners, tick->beats, self,
                   passed < COUNTED_MAX ? passed : COUNTED_MAX);
}

/* ---- acting ----------------------------------------------------------------------------- */

static int fence(struct ftl__watch *watch, const struct peer *peer, bool *ret_fenced)
{
    struct ftl__invoke *invoke = &watch->invoke;
    struct redisReply *reply;
    ftl__invoke_start(invoke, FTL__SCRIPT_FENCE);
    ftl__invoke_key(invoke, &watch->options.keys->owners);
    ftl__invoke_key(invoke, &watch->options.keys->beat);
    ftl__invoke_key(invoke, &watch->options.keys->fenced);
    ftl__invoke_text(invoke, peer->id);
    ftl__invoke_text(invoke, peer->beat);
    ftl__invoke_text(invoke, peer->format);
    int status = ftl__invoke_run(invoke, watch->options.scripts, watch->options.link,
                                 ftl_deadline(watch->options.call_timeout), &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_INTEGER, "fence");
    *ret_fenced = status == 0 && reply->integer == 1;
    ftl__reply_free(reply);
    return status;
}

/* One whose keys Redis refuses to touch (told) stays; the others need not wait for that. */
static int reap(struct ftl__watch *watch, const struct ftl__reap_options *options, const char *id,
                const char *format)
{
    const struct ftl__reap_victim victim = {id, format};
    int status = ftl__reap(options, &watch->invoke, &victim);
    return status == FTL_EPROTO ? 0 : status;
}

/* They are not among the fenced of this tick. */
static int fence_silent(struct ftl__watch *watch, const struct ftl__reap_options *options)
{
    int status = 0;
    for (size_t i = 0; i < watch->peer_count && status == 0; i++) {
        struct peer *peer = &watch->peers[i];
        if (peer->silence <= peer->ttl)
            continue;
        bool fenced = false;
        peer->silence = 0;
        status = fence(watch, peer, &fenced);
        if (status == 0)
            status = watch->options.tend(watch->options.arg);
        if (status == 0 && fenced)
            status = reap(watch, options, peer->id, peer->format);
    }
    return status;
}

/* "FORMAT" or "FORMAT shared", of a format that we know. */
static bool parse_fenced(const struct redisReply *entry, char ret_format[FTL__FORMAT_MAX + 1])
{
    size_t size = strcspn(entry->str, " ");
    if (size > FTL__FORMAT_MAX || !ftl__format_is_known(entry->str, size) ||
        (entry->len > size && strcmp(entry->str + size, " shared") != 0))
        return false;
    memcpy(ret_format, entry->str, size);
    ret_format[size] = '\0';
    return true;
}

static int reap_fenced(struct ftl__watch *watch, const struct ftl__reap_options *options,
                       const struct redisReply *fenced)
{
    int status = 0;
    for (size_t i = 0; i + 1 < fenced->elements && status == 0; i += 2) {
        const struct redisReply *id = fenced->element[i];
        char format[FTL__FORMAT_MAX + 1];
        if (id->len <= FTL__ID_MAX && strlen(id->str) == id->len &&
            parse_fenced(fenced->element[i + 1], format))
            status = reap(watch, options, id->str, format);
    }
    return status;
}

/* Tried at each turn until it is done. */
static int absolve(struct ftl__watch *watch, const struct ftl__reap_options *options)
{
    char id[FTL__ID_MAX + 1]; /* tend() may change the other one */
    memcpy(id, watch->survived, sizeof id);
    if (id[0] == '\0')
        return 0;
    int status = ftl__absolve(options, &watch->invoke, id);
    if (status == 0 && strcmp(watch->survived, id) == 0)
        watch->survived[0] = '\0';
    return status;
}

void ftl__watch_survived(struct ftl__watch *watch, const char *id)
{
    snprintf(watch->survived, sizeof watch->survived, "%s", id);
}

int ftl__watch_turn(struct ftl__watch *watch, const char *self, const struct ftl__tick *tick)
{
    const struct ftl__reap_options options = {
        .link = watch->options.link,
        .scripts = watch->options.scripts,
        .keys = watch->options.keys,
        .call_timeout = watch->options.call_timeout,
        .tend = watch->options.tend,
        .arg = watch->options.arg,
    };
    char own[FTL__ID_MAX + 1]; /* tend() may change it */
    snprintf(own, sizeof own, "%s", self);
    int status = look(watch, own, tick);
    if (status == 0)
        status = fence_silent(watch, &options);
    if (status == 0)
        status = reap_fenced(watch, &options, tick->fenced);
    if (status == 0)
        status = absolve(watch, &options);
    return status;
}
