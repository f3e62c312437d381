/* SPDX-License-Identifier: MIT
 *
 * DESIGN: getaddrinfo(3) blocks for as long as name servers please, so a name is looked up by a
 * detached thread of its own; numbers are not. The request has two owners, the thread, and the task
 * that waits or, when that has given up, the list of those that are late; who leaves last frees it.
 *
 * A look-up cannot be ended, and may last longer than the attempts of the links. So whoever looks for
 * the same name takes up a late one, or its answer if that has just come, before another thread is
 * started: there is at most one for each attempt at the same time, hence for each link. The list is
 * used from tasks of the control runtime only: nothing is locked. */
#include "daemon/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/channel.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "runtime/list.h"

#define FRESH (5 * FTL_S) /* an answer that came so long ago may be out of date */

struct request {
    struct ftl__list link; /* in `late` */
    _Atomic int owners;
    struct ftl_oneshot done; /* sent by the thread after what follows is written */
    int status;              /* of getaddrinfo() */
    int64_t answered;        /* when */
    struct addrinfo *found;  /* owned by the request until taken */
    char service[8];
    char host[];
};

static struct ftl__list late = {&late, &late};

static void leave(struct request *request)
{
    /* Pairs with itself: the last owner sees all that the other one wrote. */
    if (atomic_fetch_sub_explicit(&request->owners, 1, memory_order_acq_rel) != 1)
        return;
    if (request->found != NULL)
        freeaddrinfo(request->found);
    free(request);
}

/* The waiting task's end: what has no answer yet is left to the next one. */
static void set_aside(void *arg)
{
    struct request *request = arg;
    if (ftl_oneshot_is_sent(&request->done))
        leave(request);
    else
        ftl__list_push_back(&late, &request->link);
}

/* A late one for that name, or NULL; those that others have waited for in vain go. */
static struct request *take_up(const char *host, const char *service)
{
    struct request *found = NULL;
    for (struct ftl__list *node = late.next, *next; node != &late; node = next) {
        struct request *request = ftl__container(node, struct request, link);
        bool sent = ftl_oneshot_is_sent(&request->done);
        bool stale = sent && ftl_now() - request->answered > FRESH;
        bool wanted = found == NULL && !stale && strcmp(request->host, host) == 0 &&
                      strcmp(request->service, service) == 0;
        next = node->next;
        if (wanted || stale)
            ftl__list_unlink(node);
        if (wanted)
            found = request;
        else if (stale)
            leave(request);
    }
    return found;
}

static int look_up(const char *host, const char *service, int flags, struct addrinfo **ret_found)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, service, &hints, ret_found);
}

static void *look_up_thread(void *arg)
{
    struct request *request = arg;
    struct addrinfo *found = NULL;
    request->status = look_up(request->host, request->service, AI_ADDRCONFIG, &found);
    request->found = request->status == 0 ? found : NULL;
    request->answered = ftl_now();
    ftl_oneshot_send(&request->done, NULL);
    leave(request);
    return NULL;
}

static struct request *request_new(const char *host, const char *service)
{
    size_t size = strlen(host) + 1;
    struct request *request = calloc(1, sizeof *request + size);
    if (request == NULL)
        return NULL;
    atomic_init(&request->owners, 2);
    ftl_oneshot_init(&request->done);
    snprintf(request->service, sizeof request->service, "%s", service);
    memcpy(request->host, host, size);
    return request;
}

static int start_thread(struct request *request)
{
    pthread_attr_t attr;
    pthread_t thread;
    if (pthread_attr_init(&attr) != 0)
        return FTL_ESYS;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attr, look_up_thread, request);
    pthread_attr_destroy(&attr);
    return error == 0 ? 0 : FTL_ESYS;
}

static int start_request(const char *host, const char *service, struct request **ret_request)
{
    struct request *request = request_new(host, service);
    if (request == NULL)
        return FTL_ENOMEM;
    int status = start_thread(request);
    if (status != 0)
        free(request);
    else
        *ret_request = request;
    return status;
}

static int by_thread(const char *host, const char *service, int64_t deadline,
                     struct addrinfo **ret_addresses, const char **ret_reason)
{
    struct request *request = take_up(host, service);
    int status = request != NULL ? 0 : start_request(host, service, &request);
    if (status != 0)
        return status;
    FTL_DEFER(set_aside, request);
    void *nothing;
    status = ftl_oneshot_recv(&request->done, deadline, &nothing);
    if (status != 0)
        return status;
    if (request->status != 0) {
        *ret_reason = gai_strerror(request->status);
        return FTL_ENOENT;
    }
    *ret_addresses = request->found;
    request->found = NULL;
    return 0;
}

int ftl__resolve(const char *host, uint16_t port, int64_t deadline, struct addrinfo **ret_addresses,
                 const char **ret_reason)
{
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int error = look_up(host, service, AI_NUMERICHOST, ret_addresses);
    if (error == 0)
        return 0;
    if (error == EAI_MEMORY)
        return FTL_ENOMEM;
    return by_thread(host, service, deadline, ret_addresses, ret_reason);
}
