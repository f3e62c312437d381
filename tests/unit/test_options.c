/* SPDX-License-Identifier: MIT
 *
 * The command line of fettled: what each word asks for, and what is refused. */
#include "daemon/options.h"

#include <stdint.h>
#include <string.h>

#include <fettle/error.h>

#include "tests/unit/unit.h"

static char error[256];

static int parse(struct ftl__options *ret_options, const char *const *words)
{
    char *argv[8] = {(char *)(uintptr_t)"fettled"};
    int argc = 1;

    for (; words[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    error[0] = '\0';
    return ftl__options_parse(argc, argv, ret_options, error, sizeof error);
}
#define PARSE(options, ...) parse((options), (const char *const[]){__VA_ARGS__, NULL})

START_TEST(nothing_runs_the_default)
{
    struct ftl__options options;
    ck_assert_int_eq(parse(&options, (const char *const[]){NULL}), 0);
    ck_assert_int_eq(options.mode, FTL__MODE_RUN);
    ck_assert_str_ne(options.config, "");
    ck_assert_ptr_ne(strstr(options.config, "/fettle/fettled.conf"), NULL);
}
END_TEST

START_TEST(config_takes_a_file)
{
    struct ftl__options options;
    ck_assert_int_eq(PARSE(&options, "--config", "a.conf"), 0);
    ck_assert_str_eq(options.config, "a.conf");
    ck_assert_int_eq(PARSE(&options, "--config=b.conf", "--check-config"), 0);
    ck_assert_str_eq(options.config, "b.conf");
    ck_assert_int_eq(options.mode, FTL__MODE_CHECK);
}
END_TEST

START_TEST(dev_takes_a_directory_or_none)
{
    struct ftl__options options;
    ck_assert_int_eq(PARSE(&options, "--dev"), 0);
    ck_assert_int_eq(options.mode, FTL__MODE_DEV);
    ck_assert_ptr_eq(options.dev_dir, NULL);
    ck_assert_int_eq(PARSE(&options, "--dev", "here"), 0);
    ck_assert_str_eq(options.dev_dir, "here");
    ck_assert_int_eq(PARSE(&options, "--dev=there"), 0);
    ck_assert_str_eq(options.dev_dir, "there");
}
END_TEST

START_TEST(version_and_help_win)
{
    struct ftl__options options;
    ck_assert_int_eq(PARSE(&options, "--check-config", "--version"), 0);
    ck_assert_int_eq(options.mode, FTL__MODE_VERSION);
    ck_assert_int_eq(PARSE(&options, "--version", "--help"), 0);
    ck_assert_int_eq(options.mode, FTL__MODE_HELP);
}
END_TEST

START_TEST(mistakes_are_named)
{
    struct ftl__options options;
    ck_assert_int_eq(PARSE(&options, "--confg", "x"), FTL_EINVAL);
    ck_assert_ptr_ne(strstr(error, "--confg"), NULL);
    ck_assert_int_eq(PARSE(&options, "--config"), FTL_EINVAL);
    ck_assert_str_eq(error, "--config: needs a value");
    ck_assert_int_eq(PARSE(&options, "fettled.conf"), FTL_EINVAL);
    ck_assert_str_eq(error, "fettled.conf: not expected");
    ck_assert_int_eq(PARSE(&options, "--dev", "--config", "x"), FTL_EINVAL);
    ck_assert_str_eq(error, "--dev: has a configuration of its own");
    ck_assert_int_eq(PARSE(&options, "--help=please"), FTL_EINVAL);
}
END_TEST

START_TEST(help_names_every_option)
{
    static const char *const names[] = {"--config FILE", "--check-config", "--dev [DIR]",
                                        "--version", "--help"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_ptr_ne(strstr(ftl__options_help, names[i]), NULL);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, nothing_runs_the_default);
    UNIT_CASE(suite, config_takes_a_file);
    UNIT_CASE(suite, dev_takes_a_directory_or_none);
    UNIT_CASE(suite, version_and_help_win);
    UNIT_CASE(suite, mistakes_are_named);
    UNIT_CASE(suite, help_names_every_option);
}

UNIT_MAIN("options", add_cases)
