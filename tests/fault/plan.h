/* SPDX-License-Identifier: MIT
 *
 * The plan of the proxy: which message is cut at which byte, and which command is answered in
 * Redis' place. It walks through all offsets, or all errors, of each kind of command by itself. */
#ifndef FETTLE_TESTS_PLAN_H
#define FETTLE_TESTS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum direction { UP, DOWN }; /* commands, replies */

/* Cuts from now on: of each kind and direction one message after `first` bytes, the next after
 * `first` + `step`, and so on up to `last`, of the texts of scripts up to their ends. */
void plan_cuts(size_t first, size_t step, size_t last);
/* From now on the next command of each kind is answered with `error` ("-LOADING …"), once. */
void plan_error(const char *error);
void plan_off(void);

/* Where to cut this message; `size` or more: nowhere. */
size_t plan_cut(const char *kind, enum direction direction, size_t size);
/* What to answer in Redis' place, without the line's end, or NULL. */
const char *plan_answer(const char *kind);

/* One line: what was done, and for each kind "NAME count up up_largest up_passed down
 * down_largest down_passed answered", separated by tabs. */
void plan_report(FILE *stream);

#endif
