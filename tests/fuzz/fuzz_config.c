/* SPDX-License-Identifier: MIT
 *
 * Any text as a configuration. It is refused in one line that names the file, or what came of it is
 * within its bounds. */
#include <string.h>

#include <fettle/error.h>

#include "daemon/config.h"
#include "tests/fuzz/fuzz.h"

/* libconfig 1.5 loses the last string of a file with a syntax error. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig\n";
}

const char *const fuzz_seeds[] = {
    "redis = { url = \"redis://me:p%40ss@[::1]:7000/3\"; prefix = \"{app}:\"; };\n"
    "concurrency = 20; workers = 3; order = \"weighted\";\n"
    "queues = ( { name = \"a:b.c-d_E\"; weight = 5; }, { name = \"low\"; concurrency = 4; } );\n",
    "module_path = [ \"/usr/lib/fettle\", \"/opt/x\" ];\n"
    "handlers = ( { class = \"Hello\"; module = \"hello\"; stack_size = 262144; },\n"
    "  { class = \"Thumb*\"; command = [ \"/usr/bin/thumb\", \"--json\" ]; timeout = 30.5;\n"
    "    env = ( \"A=1\", \"B=x=y\" ); cwd = \"/tmp\"; dead_exit = [ 1, 2 ];\n"
    "    kill_after = 1; memory = 1048576; nice = 1; } ); cgroup = \"none\";\n",
    "shutdown_timeout = 0.5; lease_ttl = 3; max_payload = 2000000L; unroutable_ttl = 60;\n"
    "dead = { max_jobs = 10000; max_age = 15552000; }; /* one */ // two\n"
    "log = { level = \"debug\"; format = \"json\"; jobs = \"all\"; }; # three\n",
    "redis = { url = \"unix:///run/redis.sock?db=1\"; password_file = \"/nonexistent/p\"; };\n"
    "workers = 0x10; lease_ttl = 1.5e1; order = \"str\" \"ict\"; dead : { max_age = .5 };\n",
    "",
    NULL};

static void check_handler(const struct ftl__handler_config *handler)
{
    bool command = handler->type == FTL__HANDLER_COMMAND;
    bool worker = handler->type == FTL__HANDLER_WORKER;
    FUZZ_CHECK(handler->class != NULL && handler->class[0] != '\0');
    FUZZ_CHECK((handler->command != NULL) == command && (handler->worker != NULL) == worker);
    FUZZ_CHECK((handler->module == NULL) == (command || worker));
    FUZZ_CHECK(!command || (handler->command[0] != NULL && handler->env != NULL));
    FUZZ_CHECK(!worker || (handler->worker[0] != NULL && handler->env != NULL));
    FUZZ_CHECK(handler->processes >= 1 && handler->processes <= 256);
    FUZZ_CHECK(!command || handler->dead_exit != NULL);
    FUZZ_CHECK(handler->timeout >= 0 && handler->kill_after >= 0);
}

static void check_config(const struct ftl__config *config)
{
    FUZZ_CHECK(config->concurrency >= 1 && config->concurrency <= 65536);
    FUZZ_CHECK(config->workers <= 1024 && config->lease_ttl >= 1 && config->max_payload >= 64);
    FUZZ_CHECK((config->redis.socket == NULL) != (config->redis.host == NULL));
    FUZZ_CHECK(config->redis.shown != NULL && config->prefix != NULL && config->file != NULL);
    FUZZ_CHECK(config->queue_count >= 1 && config->queue_count <= 256);
    for (size_t i = 0; i < config->queue_count; i++)
        FUZZ_CHECK(config->queues[i].name != NULL && config->queues[i].weight >= 1);
    for (size_t i = 0; i < config->handler_count; i++)
        check_handler(&config->handlers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[512] = "";
    struct ftl__config *config = NULL;
    char *text = malloc(size + 1);
    FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    int rc = ftl__config_parse(text, "f", &config, error, sizeof(error));
    FUZZ_CHECK(rc == 0 || rc == FTL_EINVAL);
    if (rc == 0)
        check_config(config);
    else
        FUZZ_CHECK(strncmp(error, "f:", 2) == 0 && strpbrk(error, "\n\r\x1b") == NULL);
    ftl__config_free(config);
    free(text);
    return 0;
}
