/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The settings are asked for one by one with CONFIG GET, the replicas with ROLE, in one
 * round trip. Many a server does not let its users read the configuration: then INFO tells all but
 * appendfsync, which stays unknown. An answer that will be another one in a moment (a server that is
 * BUSY with somebody's script) says nothing: then the connection is made again. A policy that evicts only keys with a time to live is harmless:
 * no job is in such a key. Runs in the greeting of the link `work`; no state: who asks remembers
 * what was said (parts.c). */
#include "daemon/durability.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/link.h"
#include "daemon/log.h"
#include "daemon/server.h"

#define UNKNOWN "unknown"

enum fact { APPENDONLY, APPENDFSYNC, NO_FSYNC, MAXMEMORY, POLICY, FACT_COUNT };

static const struct {
    const char *setting;
    const char *section, *field; /* of INFO; NULL: not in it */
} facts[FACT_COUNT] = {
    [APPENDONLY] = {"appendonly", "persistence", "aof_enabled:"},
    [APPENDFSYNC] = {"appendfsync", NULL, NULL},
    [NO_FSYNC] = {"no-appendfsync-on-rewrite", NULL, NULL},
    [MAXMEMORY] = {"maxmemory", "memory", "maxmemory:"},
    [POLICY] = {"maxmemory-policy", "memory", "maxmemory_policy:"},
};

struct server {
    char value[FACT_COUNT][sizeof(((struct ftl__finding *)NULL)->value)];
    size_t replicas;
};

/* ---- asking ----------------------------------------------------------------------------- */

static void set_value(char value[static sizeof(((struct server *)NULL)->value[0])],
                      const char *text, size_t size)
{
    snprintf(value, sizeof(((struct server *)NULL)->value[0]), "%.*s", (int)size, text);
}

/* The answer to CONFIG GET: name and value. */
static void take_setting(struct server *server, enum fact fact, const struct redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        set_value(server->value[fact], reply->element[1]->str, reply->element[1]->len);
}

/* Of a master: its name, its offset, its replicas. */
static void take_role(struct server *server, const struct redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
        reply->element[2]->type == REDIS_REPLY_ARRAY)
        server->replicas = reply->element[2]->elements;
}

static int begin_word(struct ftl__link *link, struct ftl__call *call, int argc,
                      const char *const *words, int64_t deadline)
{
    const char *argv[3];
    size_t argvlen[3];
    for (int i = 0; i < argc; i++) {
        argv[i] = words[i];
        argvlen[i] = strlen(words[i]);
    }
    return ftl__link_begin(link, call, &(struct ftl__command){argc, argv, argvlen}, deadline);
}

/* Call FACT_COUNT is ROLE. */
static int begin(struct ftl__link *link, struct ftl__call *call, size_t i, int64_t deadline)
{
    if (i == FACT_COUNT)
        return begin_word(link, call, 1, (const char *const[]){"ROLE"}, deadline);
    return begin_word(link, call, 3, (const char *const[]){"CONFIG", "GET", facts[i].setting},
                      deadline);
}

static int ask_config(struct ftl__link *link, struct server *server, int64_t deadline)
{
    struct ftl__call calls[FACT_COUNT + 1];
    size_t begun = 0;
    int status = 0;
    while (begun <= FACT_COUNT && (status = begin(link, &calls[begun], begun, deadline)) == 0)
        begun++;
    for (size_t i = 0; i < begun; i++) {
        struct redisReply *reply;
        int waited = ftl__link_wait(&calls[i], &reply);
        status = status != 0 ? status : waited;
        if (waited != 0)
            continue;
        if (status == 0)
            status = ftl__link_passing(link, i == FACT_COUNT ? "ROLE" : "CONFIG GET", reply);
        if (i == FACT_COUNT)
            take_role(server, reply);
        else
            take_setting(server, (enum fact)i, reply);
        ftl__reply_free(reply);
    }
    return status;
}

static void take_field(struct server *server, enum fact fact, const char *info)
{
    const char *at =
        facts[fact].field != NULL ? ftl__server_field(info, facts[fact].field) : NULL;
    if (at == NULL)
        return;
    if (fact == APPENDONLY)
        set_value(server->value[fact], *at == '1' ? "yes" : "no", 3);
    else
        set_value(server->value[fact], at, strcspn(at, "\r\n"));
}

static int ask_info(struct ftl__link *link, struct server *server, const char *section,
                    int64_t deadline)
{
    struct redisReply *reply;
    int status = ftl__link_callf(link, deadline, &reply, "INFO %s", section);
    if (status != 0)
        return status;
    status = ftl__link_passing(link, "INFO", reply);
    for (size_t i = 0; i < FACT_COUNT && reply->type == REDIS_REPLY_STRING; i++)
        if (server->value[i][0] == '\0')
            take_field(server, (enum fact)i, reply->str);
    ftl__reply_free(reply);
    return status;
}

static int ask(struct ftl__link *link, struct server *server, int64_t deadline)
{
    int status = ask_config(link, server, deadline);
    for (size_t i = 0; i < FACT_COUNT && status == 0; i++)
        if (server->value[i][0] == '\0' && facts[i].section != NULL)
            status = ask_info(link, server, facts[i].section, deadline);
    for (size_t i = 0; i < FACT_COUNT; i++)
        if (server->value[i][0] == '\0')
            set_value(server->value[i], UNKNOWN, strlen(UNKNOWN));
    return status;
}

/* ---- judging ---------------------------------------------------------------------------- */

static void add(struct ftl__durability *durability, const char *setting, const char *value,
                bool loses, const char *reason)
{
    struct ftl__finding *finding = &durability->findings[durability->count++];
    *finding = (struct ftl__finding){.setting = setting, .reason = reason, .loses = loses};
    snprintf(finding->value, sizeof finding->value, "%s", value);
}

/* While a child writes a snapshot or a new file, there is no fsync, whatever appendfsync says. */
static void judge_rewrite(const struct server *server, struct ftl__durability *durability)
{
    const char *paused = server->value[NO_FSYNC];
    if (strcmp(paused, UNKNOWN) == 0)
        add(durability, "no-appendfsync-on-rewrite", paused, true,
            "Redis does not let us read it: unless it is no, a crash of its machine may lose jobs");
    else if (strcmp(paused, "no") != 0)
        add(durability, "no-appendfsync-on-rewrite", paused, true,
            "while Redis rewrites its file or writes a snapshot, a crash of its machine may lose "
            "what it took since the beginning of that");
}

/* Why a value that is not known may lose jobs is what the value that does would say. */
static void judge_file(const struct server *server, struct ftl__durability *durability)
{
    const char *file = server->value[APPENDONLY], *sync = server->value[APPENDFSYNC];
    if (strcmp(file, UNKNOWN) == 0)
        add(durability, "appendonly", file, true,
            "Redis does not let us read it: unless it is yes, an end of Redis may lose jobs");
    else if (strcmp(file, "yes") != 0)
        add(durability, "appendonly", file, true,
            "when Redis ends, all that it took since its last snapshot may be lost");
    else if (strcmp(sync, UNKNOWN) == 0)
        add(durability, "appendfsync", sync, true,
            "Redis does not let us read it: unless it is always, and no-appendfsync-on-rewrite no, "
            "a crash of its machine may lose jobs");
    else if (strcmp(sync, "everysec") == 0)
        add(durability, "appendfsync", sync, true,
            "a crash of Redis' machine may lose what it took in the last second or two");
    else if (strcmp(sync, "always") != 0)
        add(durability, "appendfsync", sync, true,
            "a crash of Redis' machine may lose what its kernel had not written, often half a "
            "minute");
    if (strcmp(file, "yes") == 0 && (strcmp(sync, "always") == 0 || strcmp(sync, "everysec") == 0))
        judge_rewrite(server, durability);
}

static void judge_memory(const struct server *server, struct ftl__durability *durability)
{
    const char *policy = server->value[POLICY];
    if (strcmp(server->value[MAXMEMORY], "0") == 0)
        return;
    if (strcmp(policy, UNKNOWN) == 0)
        add(durability, "maxmemory-policy", policy, true,
            "Redis does not let us read it: unless it is noeviction, a full Redis may remove jobs");
    else if (strncmp(policy, "allkeys-", 8) == 0)
        add(durability, "maxmemory-policy", policy, true,
            "when its memory is full, Redis removes keys, queues of jobs among them");
}

static void judge_replicas(const struct server *server, struct ftl__durability *durability)
{
    char count[24];
    if (server->replicas == 0)
        return;
    snprintf(count, sizeof count, "%zu", server->replicas);
    add(durability, "replicas", count, false,
        "a failover may lose what the replica had not received yet");
}

int ftl__durability_read(struct ftl__link *link, int64_t deadline,
                         struct ftl__durability *ret_durability)
{
    struct server server = {.replicas = 0};
    int status = ask(link, &server, deadline);
    if (status != 0)
        return status;
    *ret_durability = (struct ftl__durability){.count = 0};
    judge_file(&server, ret_durability);
    judge_memory(&server, ret_durability);
    judge_replicas(&server, ret_durability);
    return 0;
}

/* ---- saying ----------------------------------------------------------------------------- */

bool ftl__durability_equal(const struct ftl__durability *a, const struct ftl__durability *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->findings[i].reason != b->findings[i].reason)
            return false;
    return true;
}

void ftl__durability_tell(const struct ftl__durability *durability)
{
    for (size_t i = 0; i < durability->count; i++) {
        const struct ftl__finding *finding = &durability->findings[i];
        ftl__log(FTL__EV_REDIS_DURABILITY, FTL__STR("setting", finding->setting),
                 FTL__STR("value", finding->value), FTL__STR("reason", finding->reason));
    }
}

void ftl__durability_explain(const struct ftl__durability *durability, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < durability->count; i++) {
        const struct ftl__finding *finding = &durability->findings[i];
        size_t used = strlen(text);
        if (finding->loses)
            snprintf(text + used, size - used, "%s%s = %s: %s", used > 0 ? "; " : "it may lose jobs: ",
                     finding->setting, finding->value, finding->reason);
    }
}
