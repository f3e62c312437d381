/* SPDX-License-Identifier: MIT
 *
 * A fuzz target: LLVMFuzzerTestOneInput, which aborts when something is wrong, and texts to start
 * from. With a fuzzing compiler (clang -fsanitize=fuzzer) it is linked without main.c and goes on
 * for as long as it is let; with main.c it is a test. */
#ifndef FETTLE_TESTS_FUZZ_H
#define FETTLE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const char *const fuzz_seeds[]; /* ends with NULL */

#define FUZZ_CHECK(expr)                                                                           \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expr);                       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
