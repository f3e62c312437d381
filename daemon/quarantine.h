/* SPDX-License-Identifier: MIT
 *
 * The quarantine: classes that have crashed in a task, here or in another daemon, and until when their
 * runs go to child processes. Control runtime only. */
#ifndef FETTLE_DAEMON_QUARANTINE_H
#define FETTLE_DAEMON_QUARANTINE_H

#include "daemon/clock.h"
#include "daemon/keys.h"
#include "daemon/link.h"
#include "daemon/marks.h"
#include "daemon/script.h"

struct ftl__quarantine;

struct ftl__quarantine_options {
    struct ftl_runtime *runtime; /* all pointers outlive the quarantine */
    struct ftl__link *link;
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    const struct ftl__clock *clock;
    const struct ftl__marks *marks; /* fettle:faulted, as Redis has told it last */
    double ttl; /* seconds from a class' last crash to its end */
    /* Sends runs of the class to child processes, or to tasks again: true if that is new. Must not
     * wait. */
    bool (*isolate)(void *arg, const char *class, bool isolated);
    void *arg;
};

/* Takes over what an earlier program of this process has left (leave()). FTL_ENOMEM and others: no task
 * could be started. */
int ftl__quarantine_open(const struct ftl__quarantine_options *options,
                         struct ftl__quarantine **ret_quarantine);
void ftl__quarantine_close(struct ftl__quarantine *quarantine); /* NULL-safe */

void ftl__quarantine_set_ttl(struct ftl__quarantine *quarantine, double seconds);

/* A run of the class has crashed, `reason` says how: in a task, or in a child in place of one. Other
 * daemons hear of it as soon as Redis can be told. */
void ftl__quarantine_add(struct ftl__quarantine *quarantine, const char *class,
                         const char *reason);
/* There are other marks. */
void ftl__quarantine_marked(struct ftl__quarantine *quarantine);
/* Now and then: ends what is over, and tells Redis what it could not be told. */
void ftl__quarantine_look(struct ftl__quarantine *quarantine);
/* There are other handlers: they are told of all classes. */
void ftl__quarantine_apply(struct ftl__quarantine *quarantine);
/* For the program that this process is about to execute. */
void ftl__quarantine_leave(const struct ftl__quarantine *quarantine);

#endif
