/* SPDX-License-Identifier: MIT
 *
 * DESIGN. fettle: options, settings, a connection, one command, an exit code. One thread, no
 * runtime. */
#include <signal.h>
#include <stdio.h>

#include "cli/options.h"
#include "cli/redis.h"
#include "cli/settings.h"

static int run(ftl__cli_fn command, const struct ftl__cli_options *options)
{
    struct ftl__cli_settings settings;
    struct ftl__redis *redis;
    int rc = ftl__cli_settings_read(options, &settings);
    if (rc != 0)
        return rc;
    rc = ftl__redis_open(&settings, &redis);
    if (rc == 0) {
        rc = command(options, redis);
        ftl__redis_close(redis);
    }
    ftl__cli_settings_clear(&settings);
    return rc;
}

int main(int argc, char **argv)
{
    struct ftl__cli_options options;
    ftl__cli_fn command;
    signal(SIGPIPE, SIG_IGN); /* Redis may go away; that is an error to tell */
    int rc = ftl__cli_options_parse(argc, argv, &options, &command);
    if (rc == 0 && command != NULL)
        rc = run(command, &options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        ftl__cli_failed("the output could not be written");
        return FTL__EXIT_FAILED;
    }
    return rc;
}
