/* SPDX-License-Identifier: MIT
 *
 * The command line of `fettle`. */
#ifndef FETTLE_CLI_OPTIONS_H
#define FETTLE_CLI_OPTIONS_H

#include "cli/cli.h"

/* 0: *ret_options and *ret_run, or *ret_run = NULL if everything was said already (--help,
 * --version). FTL__EXIT_USAGE: it was said what is wrong. Reorders argv. */
int ftl__cli_options_parse(int argc, char **argv, struct ftl__cli_options *ret_options,
                           ftl__cli_fn *ret_run);

#endif
