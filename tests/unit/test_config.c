/* SPDX-License-Identifier: MIT
 *
 * The configuration: what a file means, and the exact line that says what is wrong with one. */
#include <config.h>

#include "daemon/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fettle/error.h>

#include "tests/unit/unit.h"

/* libconfig 1.5 loses the last string of a file with a syntax error. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig\n";
}

static char error[1024];

static struct ftl__config *good(const char *text)
{
    struct ftl__config *config = NULL;
    int rc = ftl__config_parse(text, "f", &config, error, sizeof(error));
    ck_assert_msg(rc == 0, "refused: %s", error);
    return config;
}

static void bad(const char *text, const char *expected)
{
    struct ftl__config *config = (struct ftl__config *)error;
    int rc = ftl__config_parse(text, "f", &config, error, sizeof(error));
    ck_assert_msg(rc == FTL_EINVAL, "taken: %s", text);
    ck_assert_str_eq(error, expected);
    ck_assert_ptr_eq(config, error); /* untouched */
}

START_TEST(nothing_means_the_defaults)
{
    struct ftl__config *config = good("");
    ck_assert_str_eq(config->file, "f");
    ck_assert_str_eq(config->redis.host, "127.0.0.1");
    ck_assert_uint_eq(config->redis.port, 6379);
    ck_assert_uint_eq(config->redis.db, 0);
    ck_assert_ptr_null(config->redis.socket);
    ck_assert_ptr_null(config->redis.password);
    ck_assert_str_eq(config->redis.shown, "redis://127.0.0.1:6379/0");
    ck_assert_str_eq(config->prefix, "");
    ck_assert_uint_eq(config->concurrency, 64);
    ck_assert_uint_eq(config->workers, 0);
    ck_assert_int_eq(config->order, FTL__ORDER_STRICT);
    ck_assert_uint_eq(config->queue_count, 1);
    ck_assert_str_eq(config->queues[0].name, "default");
    ck_assert_uint_eq(config->queues[0].weight, 1);
    ck_assert_uint_eq(config->handler_count, 0);
    ck_assert_uint_eq(config->module_path_count, 1); /* where make install puts them */
    ck_assert_ptr_nonnull(strstr(config->module_path[0], "/fettle"));
    ck_assert_double_eq(config->shutdown_timeout, 25);
    ck_assert_double_eq(config->lease_ttl, 15);
    ck_assert_int_eq(config->on_segv, FTL__SEGV_RESTART);
    ck_assert_double_eq(config->unroutable_ttl, 86400);
    ck_assert_double_eq(config->isolation_ttl, 3600);
    ck_assert_uint_eq(config->max_payload, 1048576);
    ck_assert_uint_eq(config->dead_max_jobs, 0);
    ck_assert_double_eq(config->dead_max_age, 0);
    ck_assert_str_eq(config->cgroup, "auto");
    ck_assert_int_eq(config->log_level, FTL__INFO);
    ck_assert_int_eq(config->log_format, FTL__LOG_AUTO);
    ck_assert_int_eq(config->log_jobs, FTL__LOG_JOBS_FAILURES);
    ftl__config_free(config);
    ftl__config_free(NULL);
}
END_TEST

static const char everything[] =
    "redis = { url = \"redis://me:p%40ss@[::1]:7000/3\"; prefix = \"{app}:\"; };\n"
    "concurrency = 20; workers = 3; order = \"weighted\";\n"
    "queues = ( { name = \"a:b.c-d_E\"; weight = 5; },\n"
    "           { name = \"low\"; concurrency = 4; } );\n"
    "module_path = [ \"/usr/lib/fettle\", \"/opt/x\" ];\n"
    "handlers = (\n"
    "  { class = \"Hello\"; module = \"hello\"; stack_size = 262144; concurrency = 2;"
    " blocking = true; },\n"
    "  { class = \"Thumb*\"; command = [ \"/usr/bin/thumb\", \"--json\" ]; timeout = 30.5;\n"
    "    env = ( \"A=1\", \"B=x=y\" ); cwd = \"/tmp\"; dead_exit = [ 1, 2 ]; kill_after = 1;"
    " memory = 5000000000L; cpu_seconds = 60; files = 100; nice = 3; },\n"
    "  { class = \"Plain\"; command = ( \"true\" ); } );\n"
    "shutdown_timeout = 0.5; lease_ttl = 3; max_payload = 2000000; unroutable_ttl = 60;\n"
    "dead = { max_jobs = 10000; max_age = 15552000; };\n"
    "log = { level = \"debug\"; format = \"json\"; jobs = \"all\"; };\n";

START_TEST(every_key_arrives)
{
    struct ftl__config *config = good(everything);
    ck_assert_str_eq(config->redis.host, "::1");
    ck_assert_uint_eq(config->redis.port, 7000);
    ck_assert_uint_eq(config->redis.db, 3);
    ck_assert_str_eq(config->redis.user, "me");
    ck_assert_str_eq(config->redis.password, "p@ss");
    ck_assert_str_eq(config->redis.shown, "redis://[::1]:7000/3");
    ck_assert_str_eq(config->prefix, "{app}:");
    ck_assert_uint_eq(config->concurrency, 20);
    ck_assert_uint_eq(config->workers, 3);
    ck_assert_int_eq(config->order, FTL__ORDER_WEIGHTED);
    ck_assert_uint_eq(config->queue_count, 2);
    ck_assert_str_eq(config->queues[0].name, "a:b.c-d_E");
    ck_assert_uint_eq(config->queues[0].weight, 5);
    ck_assert_uint_eq(config->queues[1].weight, 1);
    ck_assert_uint_eq(config->queues[1].concurrency, 4);
    ck_assert_uint_eq(config->queues[1].line, 4);
    ck_assert_uint_eq(config->module_path_count, 2);
    ck_assert_str_eq(config->module_path[1], "/opt/x");
    ck_assert_double_eq(config->shutdown_timeout, 0.5);
    ck_assert_double_eq(config->lease_ttl, 3);
    ck_assert_uint_eq(config->max_payload, 2000000);
    ck_assert_double_eq(config->unroutable_ttl, 60);
    ck_assert_uint_eq(config->dead_max_jobs, 10000);
    ck_assert_double_eq(config->dead_max_age, 15552000);
    ck_assert_int_eq(config->log_level, FTL__DEBUG);
    ck_assert_int_eq(config->log_format, FTL__LOG_JSON);
    ck_assert_int_eq(config->log_jobs, FTL__LOG_JOBS_ALL);
    ftl__config_free(config);
}
END_TEST

START_TEST(handlers_arrive)
{
    struct ftl__config *config = good(everything);
    ck_assert_uint_eq(config->handler_count, 3);
    const struct ftl__handler_config *hello = &config->handlers[0];
    ck_assert_int_eq(hello->type, FTL__HANDLER_MODULE);
    ck_assert_str_eq(hello->class, "Hello");
    ck_assert_str_eq(hello->module, "hello");
    ck_assert_uint_eq(hello->stack_size, 262144);
    ck_assert_uint_eq(hello->concurrency, 2);
    ck_assert_double_eq(hello->timeout, 0);
    ck_assert_int_eq(hello->blocking, FTL__BLOCKING_ALWAYS);
    ck_assert_uint_eq(hello->line, 7);

    const struct ftl__handler_config *thumb = &config->handlers[1];
    ck_assert_int_eq(thumb->type, FTL__HANDLER_COMMAND);
    ck_assert_str_eq(thumb->command[1], "--json");
    ck_assert_ptr_null(thumb->command[2]);
    ck_assert_str_eq(thumb->env[1], "B=x=y");
    ck_assert_ptr_null(thumb->env[2]);
    ck_assert_str_eq(thumb->cwd, "/tmp");
    ck_assert_uint_eq(thumb->dead_exit_count, 2);
    ck_assert_int_eq(thumb->dead_exit[1], 2);
    ck_assert_double_eq(thumb->timeout, 30.5);
    ck_assert_double_eq(thumb->kill_after, 1);
    ck_assert_uint_eq(thumb->limits.memory, 5000000000);
    ck_assert_uint_eq(thumb->limits.cpu_seconds, 60);
    ck_assert_uint_eq(thumb->limits.files, 100);
    ck_assert_int_eq(thumb->limits.nice, 3);

    const struct ftl__handler_config *plain = &config->handlers[2];
    ck_assert_ptr_nonnull(plain->env);
    ck_assert_ptr_null(plain->env[0]);
    ck_assert_ptr_null(plain->cwd);
    ck_assert_uint_eq(plain->dead_exit_count, 1);
    ck_assert_int_eq(plain->dead_exit[0], 65);
    ck_assert_double_eq(plain->kill_after, 5);
    ck_assert_uint_eq(plain->limits.memory, 0);
    ck_assert_int_eq(plain->limits.nice, 0);
    ftl__config_free(config);
}
END_TEST

#ifdef HAVE_CURL
START_TEST(urls_arrive)
{
    struct ftl__config *config = good(
        "handlers = ( { class = \"A\"; url = \"https://h/a?b\"; verify = false;\n"
        "headers = [ \"X-A: b c\" ]; headers_file = \"/f\"; connect_timeout = 0.5;\n"
        "max_response = 4096; retry_status = [ 404 ]; timeout = 3; concurrency = 2; },\n"
        "{ class = \"B\"; url = \"http://[::1]:8080\"; } );");
    const struct ftl__handler_config *all = &config->handlers[0], *plain = &config->handlers[1];
    ck_assert_int_eq(all->type, FTL__HANDLER_HTTP);
    ck_assert_str_eq(all->url, "https://h/a?b");
    ck_assert(!all->verify);
    ck_assert_str_eq(all->headers[0], "X-A: b c");
    ck_assert_str_eq(all->headers_file, "/f");
    ck_assert_double_eq(all->connect_timeout, 0.5);
    ck_assert_uint_eq(all->max_response, 4096);
    ck_assert_uint_eq(all->retry_status_count, 1);
    ck_assert_int_eq(all->retry_status[0], 404);
    ck_assert_double_eq(all->timeout, 3);
    ck_assert(plain->verify);
    ck_assert_ptr_null(plain->headers);
    ck_assert_ptr_null(plain->headers_file);
    ck_assert_ptr_null(plain->ca_file);
    ck_assert_double_eq(plain->connect_timeout, 10);
    ck_assert_uint_eq(plain->max_response, 1 << 20);
    ck_assert_uint_eq(plain->retry_status_count, 3);
    ck_assert_int_eq(plain->retry_status[2], 429);
    ftl__config_free(config);
}
END_TEST
#endif

#define HELLO "class = \"Hello\"; module = \"hello\";"
#define TRUE "class = \"X\"; command = [ \"true\" ];"
#define HOOK "class = \"X\"; url = \"http://h/\";"

static const struct {
    const char *text, *error;
} wrong[] = {
    /* names */
    {"concurency = 3;", "f:1: concurency: unknown key (did you mean \"concurrency\"?)"},
    {"\n\nhandlers = ( { " HELLO " },\n { class = \"A\";\n comand = [ \"x\" ]; } );",
     "f:5: handlers[1].comand: unknown key (did you mean \"command\"?)"},
    {"queues = ( { nmae = \"a\"; } );",
     "f:1: queues[0].nmae: unknown key (did you mean \"name\"?)"},
    {"redis = { adress = \"x\"; };", "f:1: redis.adress: unknown key"},
    {"x = 1;", "f:1: x: unknown key"},
    {"dead = {\n max_job = 1; };", "f:2: dead.max_job: unknown key (did you mean \"max_jobs\"?)"},
    /* syntax */
    {"concurrency = ;", "f:1: syntax error"},
    {"queues = (\n", "f:2: syntax error"},
    {"order = \"strict;\n\nworkers = 1;\n", "f:1: the string has no end"},
    {"order = \"\\\"", "f:1: the string has no end"},
    {"workers = 1;\nworkers = 2;", "f:2: duplicate setting name"},
    {"@include \"other.conf\"", "f:1: @include is not supported"},
    /* types */
    {"concurrency = \"8\";", "f:1: concurrency: expected an integer, got a string"},
    {"concurrency = 8.5;", "f:1: concurrency: expected an integer, got a float"},
    {"concurrency = true;", "f:1: concurrency: expected an integer, got a boolean"},
    {"lease_ttl = [ 3 ];",
     "f:1: lease_ttl: expected seconds, an integer or a float, got an array [ ]"},
    {"order = 1;", "f:1: order: expected a string, got an integer"},
    {"redis = \"redis://x\";", "f:1: redis: expected a group { }, got a string"},
    {"redis = { url = 1; };", "f:1: redis.url: expected a string, got an integer"},
    {"queues = [ \"a\" ];", "f:1: queues[0]: expected a group { }, got a string"},
    {"queues = { };", "f:1: queues: expected a list of groups, got a group { }"},
    {"module_path = \"/x\";", "f:1: module_path: expected an array of strings, got a string"},
    {"module_path = ( \"/x\",\n 1 );", "f:2: module_path[1]: expected a string, got an integer"},
    {"handlers = ( { class = \"X\"; command = \"true\"; } );",
     "f:1: handlers[0].command: expected an array of strings, got a string"},
    {"handlers = ( { " TRUE " dead_exit = 1; } );",
     "f:1: handlers[0].dead_exit: expected an array of integers, got an integer"},
    /* ranges */
    {"concurrency = 0;", "f:1: concurrency: 0 is out of range (1 to 65536)"},
    {"concurrency = -1;", "f:1: concurrency: -1 is out of range (1 to 65536)"},
    {"lease_ttl = 0.5;", "f:1: lease_ttl: 0.5 is out of range (1 to 3600)"},
    {"shutdown_timeout = 1e999;", "f:1: shutdown_timeout: inf is out of range (0 to 604800)"},
    {"max_payload = 5000000000L;",
     "f:1: max_payload: 5000000000 is out of range (64 to 67108864)"},
    {"# 5000000000\n/* 5000000000 */ // 5000000000\nmax_payload = 5000000000;",
     "f:3: the integer is too large"},
    {"workers = 0x100000000;", "f:1: the integer is too large"},
    {"workers = 99999999999999999999L;", "f:1: the integer is too large"},
    {"log = { level = \"loud\"; };",
     "f:1: log.level: \"loud\" is none of \"debug\", \"info\", \"warning\", \"error\""},
    {"order = \"Strict\";", "f:1: order: \"Strict\" is none of \"strict\", \"weighted\""},
    {"handlers = ( { " TRUE " dead_exit = [ 0 ]; } );",
     "f:1: handlers[0].dead_exit[0]: 0 is out of range (1 to 255)"},
    {"handlers = ( { class = \"\"; module = \"m\"; } );",
     "f:1: handlers[0].class: must have 1 to 255 bytes, has 0"},
    {"handlers = ( { class = \"X\"; command = [ ]; } );",
     "f:1: handlers[0].command: must have 1 to 256 elements, has 0"},
    {"handlers = ( { " HELLO " stack_size = 1000; } );",
     "f:1: handlers[0].stack_size: 1000 is out of range (16384 to 1073741824)"},
    /* queues */
    {"queues = ( );", "f:1: queues: at least one queue is needed"},
    {"queues = ( { concurrency = 1; } );", "f:1: queues[0]: needs a name"},
    {"queues = ( { name = \"a b\"; } );",
     "f:1: queues[0].name: \"a b\" is no queue name: [A-Za-z0-9_:.-], at most 128"},
    {"queues = ( { name = \"a\"; },\n{ name = \"b\"; },\n{ name = \"a\"; } );",
     "f:3: queues[2].name: \"a\" is queues[0] already"},
    {"queues = ( { name = \"a\";\n weight = 2; } );",
     "f:2: queues[0].weight: has no effect with order = \"strict\""},
    /* handlers */
    {"handlers = ( { module = \"m\"; } );", "f:1: handlers[0]: needs a class"},
    {"handlers = ( { class = \"X\"; } );",
     "f:1: handlers[0]: needs a module, a command, a worker or a url"},
    {"handlers = ( { " TRUE " module = \"m\"; } );",
     "f:1: handlers[0]: has more than one of module, command, worker and url"},
    {"handlers = ( { " HELLO " cwd = \"/\"; } );",
     "f:1: handlers[0].cwd: has no effect on a module"},
    {"handlers = ( { " HELLO "\n env = ( ); } );",
     "f:2: handlers[0].env: has no effect on a module"},
    {"handlers = ( { " TRUE " stack_size = 65536; } );",
     "f:1: handlers[0].stack_size: has no effect on a command"},
    {"handlers = ( { " TRUE " blocking = false; } );",
     "f:1: handlers[0].blocking: has no effect on a command"},
    {"handlers = ( { " HELLO " blocking = \"Auto\"; } );",
     "f:1: handlers[0].blocking: \"Auto\" is none of \"auto\""},
    {"handlers = ( { " HELLO " blocking = 1; } );",
     "f:1: handlers[0].blocking: expected true, false or a string, got an integer"},
    {"handlers = ( { " TRUE " nice = -1; } );",
     "f:1: handlers[0].nice: -1 is out of range (0 to 19)"},
    {"cgroup = \"fettle\";", "f:1: cgroup: must be \"auto\", \"none\" or an absolute path"},
    {"handlers = ( { " TRUE " cwd = \"tmp\"; } );",
     "f:1: handlers[0].cwd: must be an absolute path"},
    {"handlers = ( { class = \"X\"; command = [ \"\" ]; } );",
     "f:1: handlers[0].command: the program's name is empty"},
    {"handlers = ( { " TRUE " env = [ \"A\" ]; } );",
     "f:1: handlers[0].env[0]: must be \"NAME=value\""},
    {"handlers = ( { " TRUE " env = [ \"1A=x\" ]; } );",
     "f:1: handlers[0].env[0]: must be \"NAME=value\""},
    {"handlers = ( { " TRUE " env = [ \"FETTLE_JID=x\" ]; } );",
     "f:1: handlers[0].env[0]: names with FETTLE_ are fettled's own"},
    {"handlers = ( { " TRUE " env = [ \"A=1\", \"AB=1\", \"A=2\" ]; } );",
     "f:1: handlers[0].env[2]: A is set twice"},
    {"handlers = ( { " TRUE " dead_exit = [ 65, 75 ]; } );",
     "f:1: handlers[0].dead_exit: 75 means \"later\" and cannot mean \"never again\""},
    {"handlers = ( { class = \"X\"; worker = [ \"\" ]; } );",
     "f:1: handlers[0].worker: the program's name is empty"},
    {"handlers = ( { class = \"X\"; worker = [ \"x\" ]; processes = 257; } );",
     "f:1: handlers[0].processes: 257 is out of range (1 to 256)"},
    {"handlers = ( { class = \"X\"; worker = [ \"x\" ]; dead_exit = [ 65 ]; } );",
     "f:1: handlers[0].dead_exit: has no effect on a worker"},
    {"handlers = ( { " TRUE " start_timeout = 3; } );",
     "f:1: handlers[0].start_timeout: has no effect on a command"},
    {"handlers = ( { class = \"R*\"; command = [ \"a\" ]; },\n"
     "{ class = \"Report\"; command = [ \"b\" ]; } );",
     "f:2: handlers[1].class: is never reached: handlers[0] takes it"},
    {"handlers = ( { class = \"*\"; command = [ \"a\" ]; },\n"
     "{ class = \"R*\"; module = \"b\"; } );",
     "f:2: handlers[1].class: is never reached: handlers[0] takes it"},
#ifdef HAVE_CURL
    {"handlers = ( { class = \"X\"; url = \"ftp://x/\"; } );",
     "f:1: handlers[0].url: must be http:// or https://"},
    {"handlers = ( { class = \"X\"; url = \"http:///x\"; } );",
     "f:1: handlers[0].url: has no host"},
    {"handlers = ( { class = \"X\"; url = \"http://u:secret@h/\"; } );",
     "f:1: handlers[0].url: must hold no password: put \"Authorization: Basic …\" into "
     "headers_file"},
    {"handlers = ( { class = \"X\"; url = \"localhost:8080\"; } );",
     "f:1: handlers[0].url: expected SCHEME://"},
    {"handlers = ( { " HOOK " module = \"m\"; } );",
     "f:1: handlers[0]: has more than one of module, command, worker and url"},
    {"handlers = ( { " HOOK " kill_after = 1; } );",
     "f:1: handlers[0].kill_after: has no effect on a url"},
    {"handlers = ( { " TRUE " verify = true; } );",
     "f:1: handlers[0].verify: has no effect on a command"},
    {"handlers = ( { " HOOK " verify = false; } );",
     "f:1: handlers[0].verify: has no effect on an http:// URL"},
    {"handlers = ( { class = \"X\"; url = \"https://h\"; verify = false; ca_file = \"/x\"; } );",
     "f:1: handlers[0].ca_file: has no effect with verify = false"},
    {"handlers = ( { class = \"X\"; url = \"https://h\"; ca_file = \"x\"; } );",
     "f:1: handlers[0].ca_file: must be an absolute path"},
    {"handlers = ( { " HOOK " headers_file = \"x\"; } );",
     "f:1: handlers[0].headers_file: must be an absolute path"},
    {"handlers = ( { " HOOK " headers = [ \"A: b\",\n\"secret\" ]; } );",
     "f:2: handlers[0].headers[1]: must be \"Name: value\""},
    {"handlers = ( { " HOOK " headers = [ \"A: \" ]; } );",
     "f:1: handlers[0].headers[0]: must be \"Name: value\""},
    {"handlers = ( { " HOOK " headers = [ \"A: b\\r\\nC: d\" ]; } );",
     "f:1: handlers[0].headers[0]: has a control character"},
    {"handlers = ( { " HOOK " headers = [ \"fettle-jid: 1\" ]; } );",
     "f:1: handlers[0].headers[0]: is fettled's own to set"},
    {"handlers = ( { " HOOK " headers = [ \"content-length: 1\" ]; } );",
     "f:1: handlers[0].headers[0]: is fettled's own to set"},
    {"handlers = ( { " HOOK " retry_status = [ 500 ]; } );",
     "f:1: handlers[0].retry_status[0]: 500 is out of range (400 to 499)"},
    {"handlers = ( { class = \"*\"; url = \"http://h\"; },\n{ " HOOK " } );",
     "f:2: handlers[1].class: is never reached: handlers[0] takes it"},
#else
    {"handlers = ( { " HOOK " } );",
     "f:1: handlers[0].url: this fettled was built without libcurl: no HTTP handlers"},
#endif
    {"handlers = ( { " HELLO " isolation = \"fork\"; } );",
     "f:1: handlers[0].isolation: \"fork\" is none of \"auto\", \"task\", \"process\""},
    {"handlers = ( { " HELLO " isolation = \"process\"; blocking = true; } );",
     "f:1: handlers[0].blocking: has no effect with isolation = \"process\""},
    {"handlers = ( { " HELLO " memory = 9000000; isolation = \"task\"; } );",
     "f:1: handlers[0].memory: has no effect with isolation = \"task\""},
    {"isolation_ttl = 0;", "f:1: isolation_ttl: 0 is out of range (1 to 31536000)"},
    {"handlers = ( { " HELLO " processes = 2; isolation = \"task\"; } );",
     "f:1: handlers[0].processes: has no effect with isolation = \"task\""},
    {"handlers = ( { " TRUE " isolation = \"process\"; } );",
     "f:1: handlers[0].isolation: has no effect on a command"},
    {"redis = {\n tls = { ca = \"/x\"; }; };", "f:2: redis.tls.ca: unknown key"},
    {"redis = { url = \"redis://h\";\n tls = { }; };",
     "f:2: redis.tls: has no effect without a rediss:// URL"},
    {"redis = { url = \"rediss://h\";\n tls = { key_file = \"/x\"; }; };",
     "f:2: redis.tls.key_file: has no effect without cert_file"},
    {"redis = { url = \"rediss://h\";\n tls = { ca_file = \"/x\"; verify = false; }; };",
     "f:2: redis.tls.ca_file: has no effect with verify = false"},
    {"redis = { url = \"redis+sentinel://h\"; };",
     "f:1: redis.url: sentinels are not given by an URL, but by redis.sentinels and redis.master"},
    {"redis = { sentinels = [ ]; };",
     "f:1: redis.sentinels: must have 1 to 16 elements, has 0"},
    {"redis = { sentinels = [ \"a\" ]; };",
     "f:1: redis.sentinels: need the name of the master: redis.master"},
    {"redis = { sentinels = [ \"a:1/2\" ]; master = \"m\"; };",
     "f:1: redis.sentinels: a sentinel is written \"host:port\""},
    {"redis = { sentinels = [ \"\" ]; master = \"m\"; };",
     "f:1: redis.sentinels: a sentinel is written \"host:port\""},
    {"redis = { sentinels = [ \"a\" ]; master = \"m\";\n url = \"redis://h\"; };",
     "f:2: redis.url: has no effect: the sentinels know where Redis is"},
    {"redis = { master = \"m\"; };", "f:1: redis.master: has no effect without redis.sentinels"},
    {"redis = { db = 1; };", "f:1: redis.db: has no effect without redis.sentinels"},
    {"redis = { url = \"redis://u:p@h\";\n user = \"v\"; };",
     "f:2: redis.user: has no effect: the URL has a user"},
    {"redis = { sentinels = [ \"a\" ]; master = \"m\"; sentinel_password_file = \"p\"; };",
     "f:1: redis.sentinel_password_file: must be an absolute path"},
    /* redis */
    {"redis = { url = \"http://h\"; };", "f:1: redis.url: must begin with redis://, rediss:// or unix://"},
    {"redis = { url = \"redis://h/x\"; };",
     "f:1: redis.url: what follows the host must be the number of a database, "
     "as in redis://host/0"},
    {"redis = { url = \"redis://h/65536\"; };",
     "f:1: redis.url: what follows the host must be the number of a database, "
     "as in redis://host/0"},
    {"redis = { url = \"redis://h?db=1\"; };",
     "f:1: redis.url: redis:// and rediss:// take no options behind a \"?\""},
    {"redis = { url = \"unix://host/x\"; };",
     "f:1: redis.url: unix:// takes a path and no host, as in unix:///run/redis.sock"},
    {"redis = { url = \"unix:///\"; };", "f:1: redis.url: unix:// needs the path of a socket"},
    {"redis = { url = \"unix:///s?x=1\"; };", "f:1: redis.url: unix:// takes one option, db=N"},
    {"redis = { url = \"unix:///s?db=x\"; };",
     "f:1: redis.url: db must be the number of a database"},
    {"order = \"a\nb\";", "f:1: order: \"a?b\" is none of \"strict\", \"weighted\""},
    {"require_durable = 1;",
     "f:1: require_durable: expected true or false, got an integer"},
    {"redis = { prefix = \"a b\"; };",
     "f:1: redis.prefix: must be printable ASCII without spaces"},
    {"redis = { url = \"redis://:x@h\";\n password_file = \"/p\"; };",
     "f:2: redis.password_file: has no effect: the URL has a password"},
    {"redis = { password_file = \"p\"; };", "f:1: redis.password_file: must be an absolute path"},
    {"redis = { password_file = \"/nonexistent/p\"; };",
     "f:1: redis.password_file: /nonexistent/p: No such file or directory"},
};

START_TEST(what_is_wrong_is_said)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        bad(wrong[i].text, wrong[i].error);
}
END_TEST

START_TEST(what_looks_wrong_but_is_not_is_taken)
{
    static const char *const texts[] = {
        "lease_ttl = 2147483647.0e-6;", /* digits beyond an integer, in a float */
        "unroutable_ttl = .99999999999;",
        "redis = { prefix = \"@99999999999\"; }; # @include \"x\"\n",
        "handlers = ( { class = \"A\"; module = \"m\"; }, { class = \"A\"; module = \"n\"; } );",
        ("handlers = ( { class = \"A*\"; command = [ \"m\" ]; },\n"
         "{ class = \"B\"; module = \"n\"; } );"),
        "max_payload = 1000000L;",
        "redis = { url = \"unix:///run/redis.sock\"; };",
        "redis = { url = \"redis://\"; };",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        ftl__config_free(good(texts[i]));
}
END_TEST

START_TEST(a_unix_address_arrives)
{
    struct ftl__config *config = good("redis = { url = \"unix:///run/r%20s.sock?db=5\"; };");
    ck_assert_str_eq(config->redis.socket, "/run/r s.sock");
    ck_assert_ptr_null(config->redis.host);
    ck_assert_uint_eq(config->redis.db, 5);
    ck_assert_str_eq(config->redis.shown, "unix:///run/r s.sock?db=5");
    ftl__config_free(config);
}
END_TEST

/* ---- files ------------------------------------------------------------------------------- */

static char directory[] = "/tmp/fettle-test-XXXXXX";
static char path[128];

static void write_file(const char *name, const char *text, mode_t mode)
{
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static void make_directory(void)
{
    memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    static const char *const names[] = {"f.conf", "password", "redis-password"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

START_TEST(a_file_is_read_and_named)
{
    struct ftl__config *config;
    char expected[256];
    make_directory();
    write_file("f.conf", everything, 0600);
    ck_assert_int_eq(ftl__config_read(path, &config, error, sizeof(error)), 0);
    ck_assert_str_eq(config->file, path);
    ck_assert_uint_eq(config->concurrency, 20);
    ftl__config_free(config);

    write_file("f.conf", "workers = 7; # a comment without its newline", 0600);
    ck_assert_int_eq(ftl__config_read(path, &config, error, sizeof(error)), 0);
    ck_assert_uint_eq(config->workers, 7);
    ftl__config_free(config);

    write_file("f.conf", "\n\nlease = 3;", 0600);
    ck_assert_int_eq(ftl__config_read(path, &config, error, sizeof(error)), FTL_EINVAL);
    snprintf(expected, sizeof(expected), "%s:3: lease: unknown key", path);
    ck_assert_str_eq(error, expected);
    remove_directory();
}
END_TEST

START_TEST(what_is_no_file_is_said)
{
    struct ftl__config *config;
    ck_assert_int_eq(ftl__config_read("/nonexistent", &config, error, sizeof(error)), FTL_EINVAL);
    ck_assert_str_eq(error, "/nonexistent: No such file or directory");
    ck_assert_int_eq(ftl__config_read("/", &config, error, sizeof(error)), FTL_EINVAL);
    ck_assert_str_eq(error, "/: is no regular file");
    ck_assert_int_eq(ftl__config_read("/dev/zero", &config, error, sizeof(error)), FTL_EINVAL);
    ck_assert_str_eq(error, "/dev/zero: is no regular file");
}
END_TEST

START_TEST(what_is_no_text_is_said)
{
    struct ftl__config *config;
    make_directory();
    write_file("f.conf", "\xef\xbb\xbfworkers = 7;\n", 0600);
    ck_assert_int_eq(ftl__config_read(path, &config, error, sizeof(error)), FTL_EINVAL);
    ck_assert_ptr_nonnull(strstr(error, "byte order mark"));
    write_file("f.conf", "", 0600);
    ck_assert_int_eq(truncate(path, 1048576), 0);
    ck_assert_int_eq(ftl__config_read(path, &config, error, sizeof(error)), FTL_EINVAL);
    ck_assert_ptr_nonnull(strstr(error, "NUL bytes"));
    ck_assert_int_eq(truncate(path, 1048577), 0);
    ck_assert_int_eq(ftl__config_read(path, &config, error, sizeof(error)), FTL_EINVAL);
    ck_assert_ptr_nonnull(strstr(error, "has more than 1048576 bytes"));
    remove_directory();
}
END_TEST

static struct ftl__config *with_password_file(const char *text, mode_t mode)
{
    char config[256];
    write_file("password", text, mode);
    snprintf(config, sizeof(config), "redis = { password_file = \"%s\"; };", path);
    return good(config);
}

static void bad_password_file(const char *text, mode_t mode, const char *reason)
{
    char config[256], expected[512];
    write_file("password", text, mode);
    snprintf(config, sizeof(config), "redis = { password_file = \"%s\"; };", path);
    snprintf(expected, sizeof(expected), "f:1: redis.password_file: %s %s", path, reason);
    bad(config, expected);
}

START_TEST(a_password_comes_from_its_file)
{
    make_directory();
    struct ftl__config *config = with_password_file("s3cret\n", 0640);
    ck_assert_str_eq(config->redis.password, "s3cret");
    ck_assert_ptr_null(strstr(config->redis.shown, "s3cret"));
    ftl__config_free(config);
    config = with_password_file("two words", 0400);
    ck_assert_str_eq(config->redis.password, "two words");
    ftl__config_free(config);
    bad_password_file("x", 0644,
                      "has mode 0644: others than its owner and group must have no access "
                      "(chmod 0640)");
    bad_password_file("\nx", 0600, "its first line must be a password of 1 to 1024 bytes");
    remove_directory();
}
END_TEST

START_TEST(a_password_comes_from_a_credential)
{
    make_directory();
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
    struct ftl__config *config = good("");
    ck_assert_ptr_null(config->redis.password); /* there is none of that name */
    ftl__config_free(config);

    write_file("redis-password", "from systemd\n", 0400);
    config = good("");
    ck_assert_str_eq(config->redis.password, "from systemd");
    ftl__config_free(config);
    config = good("redis = { url = \"redis://:url@h\"; };");
    ck_assert_str_eq(config->redis.password, "url");
    ftl__config_free(config);
    config = with_password_file("file", 0400);
    ck_assert_str_eq(config->redis.password, "file");
    ftl__config_free(config);
    unsetenv("CREDENTIALS_DIRECTORY");
    remove_directory();
}
END_TEST

START_TEST(a_password_is_in_no_error)
{
    struct ftl__config *config;
    static const char *const urls[] = {"redis://u:hush@h/x", "http://u:hush@h",
                                       "redis://u:hush@h:x",
                                       "redis://u:hush%zz@h", "unix://u:hush@h/s"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
        char text[128];
        snprintf(text, sizeof(text), "redis = { url = \"%s\"; };", urls[i]);
        ck_assert_int_eq(ftl__config_parse(text, "f", &config, error, sizeof(error)), FTL_EINVAL);
        ck_assert_msg(strstr(error, "hush") == NULL, "%s", error);
    }
}
END_TEST

static const char *difference(const char *a, const char *b)
{
    struct ftl__config *one = good(a), *other = good(b);
    const char *key = ftl__config_fixed_difference(one, other);
    ftl__config_free(one);
    ftl__config_free(other);
    return key;
}

START_TEST(a_reload_may_not_change_everything)
{
    ck_assert_ptr_null(difference("", everything + sizeof(everything) - 1));
    ck_assert_ptr_null(difference(
        "", "concurrency = 3; queues = ( { name = \"x\"; } ); shutdown_timeout = 1;"
            "log = { level = \"debug\"; }; handlers = ( { " HELLO " } );"));
    ck_assert_str_eq(difference("", "redis = { url = \"redis://other\"; };"), "redis.url");
    ck_assert_ptr_null(difference("", "redis = { url = \"redis://:x@127.0.0.1\"; };"));
    ck_assert_str_eq(difference("redis = { url = \"redis://u:x@127.0.0.1\"; };",
                                "redis = { url = \"redis://v:x@127.0.0.1\"; };"),
                     "redis.url");
    ck_assert_ptr_null(difference("", "redis = { url = \"redis://127.0.0.1:6379\"; };"));
    ck_assert_str_eq(difference("", "redis = { prefix = \"x:\"; };"), "redis.prefix");
    ck_assert_str_eq(difference("", "require_durable = true;"), "require_durable");
    ck_assert_str_eq(difference("", "cgroup = \"none\";"), "cgroup");
    ck_assert_str_eq(difference("", "redis = { user = \"u\"; };"), "redis.url");
    ck_assert_str_eq(difference("", "redis = { sentinels = [ \"a\" ]; master = \"m\"; };"),
                     "redis.sentinels");
    ck_assert_str_eq(difference("redis = { sentinels = [ \"a\" ]; master = \"m\"; };",
                                "redis = { sentinels = [ \"a\" ]; master = \"n\"; };"),
                     "redis.sentinels");
    ck_assert_str_eq(difference("redis = { sentinels = [ \"a\" ]; master = \"m\"; };",
                                "redis = { sentinels = [ \"a:1\" ]; master = \"m\"; };"),
                     "redis.sentinels");
    ck_assert_ptr_null(difference("redis = { sentinels = [ \"a\" ]; master = \"m\"; };",
                                  "redis = { sentinels = [ \"a:26379\" ]; master = \"m\"; };"));
    ck_assert_str_eq(difference("", "workers = 2;"), "workers");
    ck_assert_str_eq(difference("", "lease_ttl = 2;"), "lease_ttl");
    ck_assert_str_eq(difference("", "on_segv = \"die\";"), "on_segv");
}
END_TEST

/* A file cut anywhere, or with a byte changed, is read or refused, and nothing else. */
START_TEST(damaged_files_are_refused_or_read)
{
    char text[sizeof(everything)];
    struct ftl__config *config;
    for (size_t i = 0; i < sizeof(everything) - 1; i++) {
        static const char bytes[] = "\"(){}[];=9x\n\\#/";
        for (size_t j = 0; j < sizeof(bytes); j++) {
            memcpy(text, everything, sizeof(everything));
            text[i] = bytes[j]; /* the last one ends it */
            error[0] = '\0';
            if (ftl__config_parse(text, "f", &config, error, sizeof(error)) == 0)
                ftl__config_free(config);
            else
                ck_assert_msg(strncmp(error, "f:", 2) == 0 && strchr(error, '\n') == NULL, "%s",
                              error);
        }
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, nothing_means_the_defaults);
    UNIT_CASE(suite, every_key_arrives);
    UNIT_CASE(suite, handlers_arrive);
#ifdef HAVE_CURL
    UNIT_CASE(suite, urls_arrive);
#endif
    UNIT_CASE(suite, what_is_wrong_is_said);
    UNIT_CASE(suite, what_looks_wrong_but_is_not_is_taken);
    UNIT_CASE(suite, a_unix_address_arrives);
    UNIT_CASE(suite, a_file_is_read_and_named);
    UNIT_CASE(suite, what_is_no_file_is_said);
    UNIT_CASE(suite, what_is_no_text_is_said);
    UNIT_CASE(suite, a_password_comes_from_its_file);
    UNIT_CASE(suite, a_password_comes_from_a_credential);
    UNIT_CASE(suite, a_password_is_in_no_error);
    UNIT_CASE(suite, a_reload_may_not_change_everything);
    UNIT_CASE(suite, damaged_files_are_refused_or_read);
}

UNIT_MAIN("config", add_cases)
