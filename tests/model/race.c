/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Plain accesses. The runtime's sources are compiled as for ThreadSanitizer, so that each access
 * to memory that may be shared comes with a call; here are the functions that are called. For each
 * address they keep who wrote and who read last, and report two accesses of which neither happened
 * before the other (by the clocks in the threads' views), and any access to what was freed.
 *
 * An access is known by its first byte: two that overlap without beginning at the same byte are not
 * compared. memset() and memcpy() are not seen. */
#include <string.h>

#include "tests/model/explore.h"

enum { CELLS = 1 << 15 };

struct cell {
    const volatile void *address;
    unsigned generation; /* of all that follows */
    bool freed;
    uint8_t writer;
    uint16_t written, read[MODEL_THREADS]; /* clocks of those threads; 0: never */
};

static struct cell cells[CELLS];

static struct cell *find(const volatile void *address)
{
    size_t slot = (uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15) >> 49;
    while (cells[slot].generation == model_generation && cells[slot].address != address)
        slot = (slot + 1) % CELLS;
    struct cell *cell = &cells[slot];
    if (cell->generation != model_generation)
        *cell = (struct cell){.address = address, .generation = model_generation};
    return cell;
}

static void report(const struct cell *cell, const char *what, const void *pc)
{
    static const char *last;
    last = what;
    model_fail("%s of T%d at %p on %p", last, model_self->id, pc,
               (const void *)(uintptr_t)cell->address);
}

static void plain_read(const volatile void *address, const void *pc)
{
    struct thread *self = model_self;
    if (!self)
        return;
    struct cell *cell = find(address);
    if (cell->freed)
        report(cell, "use after free: read", pc);
    if (cell->written > self->now.clock[cell->writer])
        report(cell, "data race: read", pc);
    cell->read[self->id] = self->now.clock[self->id];
}

static void plain_write(const volatile void *address, const void *pc)
{
    struct thread *self = model_self;
    if (!self)
        return;
    struct cell *cell = find(address);
    if (cell->freed)
        report(cell, "use after free: write", pc);
    if (cell->written > self->now.clock[cell->writer])
        report(cell, "data race: write after write", pc);
    for (int i = 0; i < model_thread_count; i++)
        if (cell->read[i] > self->now.clock[i])
            report(cell, "data race: write after read", pc);
    cell->writer = (uint8_t)self->id;
    cell->written = self->now.clock[self->id];
}

void model_plain_freed(const void *object, size_t size)
{
    const char *bytes = object;
    for (size_t i = 0; model_self && i < size && i < CELLS / 8; i++) {
        struct cell *cell = find(bytes + i);
        if (cell->written || i % 8 == 0) /* as a write: unordered uses are races */
            plain_write(bytes + i, __builtin_return_address(0));
        cell->freed = true;
    }
}

void model_plain_check_alive(const volatile void *object)
{
    struct cell *cell = find(object);
    if (cell->freed)
        report(cell, "use after free: atomic operation", __builtin_return_address(0));
}

/* ---- what the compiler calls ---- */

#define ACCESS(name, how)                                                                          \
    void name(void *address);                                                                      \
    void name(void *address)                                                                       \
    {                                                                                              \
        how(address, __builtin_return_address(0));                                                 \
    }
#define SIZES(name, how)                                                                           \
    ACCESS(name##1, how)                                                                           \
    ACCESS(name##2, how)                                                                           \
    ACCESS(name##4, how)                                                                           \
    ACCESS(name##8, how)                                                                           \
    ACCESS(name##16, how)
SIZES(__tsan_read, plain_read)
SIZES(__tsan_write, plain_write)
SIZES(__tsan_unaligned_read, plain_read)
SIZES(__tsan_unaligned_write, plain_write)
SIZES(__tsan_volatile_read, plain_read)
SIZES(__tsan_volatile_write, plain_write)

#define RANGE(name, how)                                                                           \
    void name(void *address, size_t size);                                                         \
    void name(void *address, size_t size)                                                          \
    {                                                                                              \
        for (size_t i = 0; i < size; i += 8)                                                       \
            how((char *)address + i, __builtin_return_address(0));                                 \
    }
RANGE(__tsan_read_range, plain_read)
RANGE(__tsan_write_range, plain_write)

void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
    (void)pc;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
