/* SPDX-License-Identifier: MIT
 *
 * The seam of the explorer: <stdatomic.h> for the runtime's sources as it compiles them, found
 * before the compiler's own. Each use becomes a call that names its place, so that a schedule can
 * be read and each memory order be weakened by itself. `_Atomic` stays what it is: it only gives
 * size and alignment here. */
#ifndef FETTLE_TESTS_MODEL_STDATOMIC_H
#define FETTLE_TESTS_MODEL_STDATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum memory_order {
    memory_order_relaxed,
    memory_order_acquire,
    memory_order_release,
    memory_order_acq_rel,
    memory_order_seq_cst,
} memory_order;

/* One use in the source. The linker gathers all of them, reached or not. */
struct model_site {
    const char *file, *function, *operation, *object;
    int line;
    memory_order order, failure; /* failure: of a compare-and-swap */
    bool implicit;               /* the order is not written out */
    unsigned long hits;
};

enum model_change { MODEL_SET, MODEL_ADD, MODEL_SUB, MODEL_AND, MODEL_OR, MODEL_XOR };

uint64_t model_load(struct model_site *site, const volatile void *object, size_t size);
void model_store(struct model_site *site, volatile void *object, size_t size, uint64_t value);
void model_init(volatile void *object, size_t size, uint64_t value);
uint64_t model_change(struct model_site *site, volatile void *object, size_t size,
                      enum model_change how, uint64_t operand);
bool model_swap(struct model_site *site, volatile void *object, size_t size, uint64_t *expected,
                uint64_t desired, bool weak);
void model_fence(struct model_site *site);

/* clang-format off */
#define MODEL__SITE(what, on, success, fail, by_default)                                           \
    __extension__({                                                                                \
        static struct model_site model__site = {                                                   \
            .file = __FILE__, .function = __func__, .operation = (what), .object = (on),           \
            .line = __LINE__, .order = (success), .failure = (fail), .implicit = (by_default)};    \
        static struct model_site *model__entry                                                     \
            __attribute__((section("model_sites"), used)) = &model__site;                          \
        (void)model__entry;                                                                        \
        &model__site;                                                                              \
    })
#define MODEL__OF(p) __typeof__((void)0, *(p))

#define MODEL__LOAD(p, order, implicit)                                                            \
    ((MODEL__OF(p))model_load(MODEL__SITE("load", #p, order, order, implicit), (p), sizeof *(p)))
#define MODEL__STORE(p, value, order, implicit)                                                    \
    model_store(MODEL__SITE("store", #p, order, order, implicit), (p), sizeof *(p),                \
                (uint64_t)(MODEL__OF(p))(value))
#define MODEL__CHANGE(what, p, how, operand, order, implicit)                                      \
    ((MODEL__OF(p))model_change(MODEL__SITE(what, #p, order, order, implicit), (p), sizeof *(p),   \
                                (how), (uint64_t)(operand)))
#define MODEL__SWAP(p, expected, desired, order, failure, weak, implicit)                          \
    __extension__({                                                                                \
        MODEL__OF(p) *model__expected = (expected);                                                \
        uint64_t model__value = (uint64_t)*model__expected;                                        \
        bool model__done = model_swap(MODEL__SITE("compare", #p, order, failure, implicit), (p),   \
                                      sizeof *(p), &model__value,                                  \
                                      (uint64_t)(MODEL__OF(p))(desired), (weak));                  \
        if (!model__done)                                                                          \
            *model__expected = (MODEL__OF(p))model__value;                                         \
        model__done;                                                                               \
    })

#define atomic_init(p, value)                                                                      \
    model_init((p), sizeof *(p), (uint64_t)(MODEL__OF(p))(value))
#define atomic_load_explicit(p, order)         MODEL__LOAD(p, order, false)
#define atomic_load(p)                         MODEL__LOAD(p, memory_order_seq_cst, true)
#define atomic_store_explicit(p, value, order) MODEL__STORE(p, value, order, false)
#define atomic_store(p, value)                 MODEL__STORE(p, value, memory_order_seq_cst, true)

#define atomic_exchange_explicit(p, value, order)                                                  \
    MODEL__CHANGE("exchange", p, MODEL_SET, (MODEL__OF(p))(value), order, false)
#define atomic_exchange(p, value)                                                                  \
    MODEL__CHANGE("exchange", p, MODEL_SET, (MODEL__OF(p))(value), memory_order_seq_cst, true)
#define atomic_fetch_add_explicit(p, n, order) MODEL__CHANGE("add", p, MODEL_ADD, n, order, false)
#define atomic_fetch_sub_explicit(p, n, order) MODEL__CHANGE("sub", p, MODEL_SUB, n, order, false)
#define atomic_fetch_and_explicit(p, n, order) MODEL__CHANGE("and", p, MODEL_AND, n, order, false)
#define atomic_fetch_or_explicit(p, n, order)  MODEL__CHANGE("or", p, MODEL_OR, n, order, false)
#define atomic_fetch_xor_explicit(p, n, order) MODEL__CHANGE("xor", p, MODEL_XOR, n, order, false)
#define atomic_fetch_add(p, n) MODEL__CHANGE("add", p, MODEL_ADD, n, memory_order_seq_cst, true)
#define atomic_fetch_sub(p, n) MODEL__CHANGE("sub", p, MODEL_SUB, n, memory_order_seq_cst, true)
#define atomic_fetch_and(p, n) MODEL__CHANGE("and", p, MODEL_AND, n, memory_order_seq_cst, true)
#define atomic_fetch_or(p, n)  MODEL__CHANGE("or", p, MODEL_OR, n, memory_order_seq_cst, true)

#define atomic_compare_exchange_strong_explicit(p, expected, desired, order, failure)              \
    MODEL__SWAP(p, expected, desired, order, failure, false, false)
#define atomic_compare_exchange_weak_explicit(p, expected, desired, order, failure)                \
    MODEL__SWAP(p, expected, desired, order, failure, true, false)
#define atomic_compare_exchange_strong(p, expected, desired)                                       \
    MODEL__SWAP(p, expected, desired, memory_order_seq_cst, memory_order_seq_cst, false, true)
#define atomic_compare_exchange_weak(p, expected, desired)                                         \
    MODEL__SWAP(p, expected, desired, memory_order_seq_cst, memory_order_seq_cst, true, true)

#define atomic_thread_fence(order)                                                                 \
    model_fence(MODEL__SITE("fence", "", order, order, false))
#define atomic_signal_fence(order) ((void)(order))
/* clang-format on */

#endif
