/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The one place that looks into a job on its way to a handler. Everything that is wrong
 * with it is found here, before it takes a permit: what is no JSON object stays as it is (RAW), an
 * object that nobody could run is rewritten with the reason (REFUSED), a class without handler
 * waits (UNROUTABLE). Nothing here waits or allocates, but for the registry's cache. */
#include "daemon/route.h"

#include <string.h>

static int refuse(struct ftl__route *ret_route, enum ftl__end end, const char *error_class,
                  const char *message)
{
    *ret_route = (struct ftl__route){end, error_class, message};
    return FTL_ENOENT;
}

/* A text member into `buf`: its length, FTL_ENOENT if it is no string, FTL_ELIMIT if it does not
 * fit, FTL_EINVAL if it holds a NUL, which a C string cannot. */
static int text(const struct ftl__job *job, enum ftl__member member, char *buf, size_t size)
{
    struct ftl__slice plain = ftl__job_plain(job, member);
    int length;

    if (plain.begin != NULL && plain.size < size) {
        memcpy(buf, plain.begin, plain.size);
        buf[plain.size] = '\0';
        return (int)plain.size;
    }
    if (job->type[member] == FTL__STRING && job->value[member].size > 6 * size)
        return FTL_ELIMIT;
    length = ftl__job_string(job, member, buf, size);
    if (length < 0)
        return length;
    if (plain.begin != NULL || (size_t)length >= size - 1)
        return FTL_ELIMIT;
    return strlen(buf) == (size_t)length ? length : FTL_EINVAL;
}

static void set_jid(struct ftl_run *run)
{
    struct ftl__slice plain = ftl__job_plain(&run->job, FTL__JID);

    if (plain.begin != NULL && plain.size <= FTL__JID_MAX) {
        memcpy(run->jid, plain.begin, plain.size);
        run->jid[plain.size] = '\0';
    } else if (ftl__job_string(&run->job, FTL__JID, run->jid, sizeof run->jid) < 0) {
        run->jid[0] = '\0';
    }
}

static bool is_set(const struct ftl__job *job, enum ftl__member member)
{
    return job->type[member] != FTL__ABSENT && job->type[member] != FTL__NULL &&
           job->type[member] != FTL__FALSE;
}

/* Has it been in a set, where we write to it? */
static bool came_back(const struct ftl__job *job)
{
    return job->type[FTL__RETRY_COUNT] != FTL__ABSENT ||
           job->type[FTL__UNROUTABLE_AT] != FTL__ABSENT;
}

static void set_attempt(struct ftl_run *run, uint32_t recoveries)
{
    int64_t retries;

    run->attempt = 1 + recoveries;
    if (ftl__job_integer(&run->job, FTL__RETRY_COUNT, &retries) && retries >= 0 &&
        retries < INT32_MAX)
        run->attempt += (uint32_t)retries + 1;
}

static int check(const struct ftl_run *run, size_t max_payload, struct ftl__route *ret_route)
{
    if (run->size > max_payload && !came_back(&run->job))
        return refuse(ret_route, FTL__END_REFUSED, "PayloadTooLarge", "larger than max_payload");
    if (is_set(&run->job, FTL__BID))
        return refuse(ret_route, FTL__END_REFUSED, "Unsupported",
                      "batches (bid) are not supported");
    if (is_set(&run->job, FTL__ENCRYPT))
        return refuse(ret_route, FTL__END_REFUSED, "Unsupported",
                      "encrypted jobs are not supported");
    return 0;
}

static int set_class(struct ftl_run *run, struct ftl__route *ret_route)
{
    bool wrapped = run->job.type[FTL__WRAPPED] == FTL__STRING;
    int length = text(&run->job, wrapped ? FTL__WRAPPED : FTL__CLASS, run->class,
                      sizeof run->class);

    if (length > 0)
        return 0;
    run->class[0] = '\0';
    if (length == FTL_ELIMIT)
        return refuse(ret_route, FTL__END_REFUSED, "InvalidJob", "the class is too long");
    if (length == FTL_EINVAL)
        return refuse(ret_route, FTL__END_REFUSED, "InvalidJob", "the class has a NUL character");
    return refuse(ret_route, FTL__END_REFUSED, "InvalidJob", "no class");
}

int ftl__route(struct ftl__slot *slot, struct ftl__registry *registry, size_t max_payload,
               uint32_t recoveries, struct ftl__route *ret_route)
{
    struct ftl_run *run = &slot->run;
    struct ftl__job_limits limits = {max_payload + FTL__RETRY_GROWTH, FTL__ROUTE_DEPTH};
    struct ftl__job_error error;
    struct ftl__handler *handler;
    int code = ftl__job_scan(run->bytes, run->size, &limits, &run->job, &error);

    if (code != 0) {
        slot->end_offset = error.offset;
        return refuse(ret_route, FTL__END_RAW, "InvalidJob", error.reason);
    }
    set_jid(run);
    set_attempt(run, recoveries);
    code = check(run, max_payload, ret_route);
    if (code == 0)
        code = set_class(run, ret_route);
    if (code != 0)
        return code;
    handler = ftl__registry_find(registry, run->class, strlen(run->class));
    if (handler == NULL)
        return refuse(ret_route, FTL__END_UNROUTABLE, "NoHandler", "no handler takes the class");
    run->handler = ftl__handler_ref(handler);
    return 0;
}
