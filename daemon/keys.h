/* SPDX-License-Identifier: MIT
 *
 * Key names. Each is the configured prefix and what docs/design.md says; the fixed ones are built
 * once, the others into the caller's storage. No allocation but for the object itself, nothing
 * waits. */
#ifndef FETTLE_DAEMON_KEYS_H
#define FETTLE_DAEMON_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define FTL__PREFIX_MAX 128 /* bytes of the configured prefix           */
#define FTL__ID_MAX     127 /* bytes of an owner's ID                   */
#define FTL__KEY_MAX    320 /* bytes of any key, with the NUL           */

/* A key: NUL-terminated for printing, but its size counts. */
struct ftl__key {
    size_t size;
    char text[FTL__KEY_MAX];
};

#define FTL__KEY_MAP(X)                                                                            \
    X(queues, "queues")                                                                            \
    X(schedule, "schedule")                                                                        \
    X(retry, "retry")                                                                              \
    X(dead, "dead")                                                                                \
    X(paused, "paused")                                                                            \
    X(processes, "processes")                                                                      \
    X(process_cleanup, "process_cleanup")                                                          \
    X(stat_processed, "stat:processed")                                                            \
    X(stat_failed, "stat:failed")                                                                  \
    X(token, "fettle:token")                                                                       \
    X(owners, "fettle:owners")                                                                     \
    X(beat, "fettle:beat")                                                                         \
    X(fenced, "fettle:fenced")                                                                     \
    X(recoveries, "fettle:recoveries")                                                             \
    X(promoter, "fettle:promoter")                                                                 \
    X(cancelled, "fettle:cancelled")                                                               \
    X(faulted, "fettle:faulted")

/* Immutable once open. */
struct ftl__keys {
    size_t prefix_size;
    char prefix[FTL__PREFIX_MAX + 1];
#define X(name, text) struct ftl__key name;
    FTL__KEY_MAP(X)
#undef X
};

/* FTL_ELIMIT: the prefix is too long. FTL_ENOMEM. */
int ftl__keys_open(const char *prefix, struct ftl__keys **ret_keys);
void ftl__keys_close(struct ftl__keys *keys); /* NULL-safe */

/* `queue` ≤ 128 bytes and `id` ≤ FTL__ID_MAX, NUL-terminated: asserted. */
void ftl__key_queue(const struct ftl__keys *keys, const char *queue, struct ftl__key *ret_key);
void ftl__key_front(const struct ftl__keys *keys, const char *queue, struct ftl__key *ret_key);
void ftl__key_batches(const struct ftl__keys *keys, const char *id, struct ftl__key *ret_key);
void ftl__key_batch(const struct ftl__keys *keys, const char *id, uint64_t seq,
                    struct ftl__key *ret_key);

/* The dashboard's records of an owner: `suffix` is "", ":work", ":workers" or "-signals". */
void ftl__key_process(const struct ftl__keys *keys, const char *id, const char *suffix,
                      struct ftl__key *ret_key);
/* `day` is YYYY-MM-DD, `total` one of stat_processed and stat_failed. */
void ftl__key_stat_day(const struct ftl__key *total, const char *day, struct ftl__key *ret_key);

#endif
