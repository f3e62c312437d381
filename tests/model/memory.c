/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Memory as C11 has it, by views. Each atomic location keeps all stores of the schedule in their
 * modification order; each thread has a view: for each location the oldest store that it may still
 * read. A load chooses among the stores from there to the newest, and moves the view forward
 * (coherence). A store carries a view of its own; a load that acquires joins it (happens-before;
 * clocks for plain accesses travel with it, race.c). A read-modify-write reads the newest store and
 * passes that one's view on (release sequences, as C++20 has them: not through plain stores of the
 * same thread). Relaxed loads and stores reach fences through the views `acquired` and `released`.
 *
 * seq_cst: one more view. A fence joins it both ways; a store writes its own place in it; a load
 * reads nothing older than it says. A futex and the driver's descriptors order nothing, beyond that
 * the kernel reads the newest value.
 *
 * Not generated: loads that read stores which come later in the schedule (load buffering), and
 * modification orders other than the order of the schedule. Weak compare-and-swap fails without
 * reason, and a failing one reads old values, like any stale load.
 *
 * Only what may be seen by others is a place to switch threads: a load of what another thread
 * writes, a store to what another reads or writes. Which locations are shared is learnt; when one
 * turns out to be, the search starts over, so that at its end all schedules were cut at all of
 * them. */
#include <string.h>

#include "tests/model/explore.h"

enum { TABLE = 4096, PER_LOCATION = 250, STORES = 8192 };

struct store {
    uint64_t value;
    struct view view; /* what an acquiring reader gets to know */
};

struct location {
    const volatile void *address;
    unsigned generation; /* of what follows, up to `stores` */
    uint8_t id, count;
    uint8_t readers, writers; /* bits of threads, in any schedule so far */
    uint16_t stores[PER_LOCATION];
};

static struct location locations[TABLE];
static struct location *by_id[MODEL_LOCATIONS];
static int addresses, location_count, store_count; /* in all schedules; in this one */
static struct store stores[STORES];
static struct view sequential;

void model_memory_forget(void)
{
    memset(locations, 0, sizeof locations);
    addresses = 0;
}

void model_memory_begin(void)
{
    location_count = store_count = 0;
    sequential = (struct view){0};
}

void model_memory_thread(struct thread *thread)
{
    thread->now = thread->acquired = thread->released = (struct view){0};
    thread->now.clock[thread->id] = 1;
}

static void join_seen(struct view *view, const struct view *other)
{
    for (int i = 0; i < MODEL_LOCATIONS; i++)
        view->seen[i] = view->seen[i] > other->seen[i] ? view->seen[i] : other->seen[i];
}

void model_view_join(struct view *view, const struct view *other)
{
    join_seen(view, other);
    for (int i = 0; i < MODEL_THREADS; i++)
        if (view->clock[i] < other->clock[i])
            view->clock[i] = other->clock[i];
}

static uint64_t peek(const volatile void *object, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)(uintptr_t)object, size);
    return value;
}

static void poke(volatile void *object, size_t size, uint64_t value)
{
    memcpy((void *)(uintptr_t)object, &value, size);
}

static struct store *append(struct location *location, uint64_t value)
{
    if (location->count == PER_LOCATION || store_count == STORES) {
        model_fail("a schedule without an end: %d stores", store_count);
        return &stores[0];
    }
    struct store *store = &stores[store_count];
    location->stores[location->count++] = (uint16_t)store_count++;
    store->value = value;
    return store;
}

/* The location, with its value of before the schedule as the first store. */
static struct location *locate(const volatile void *object, size_t size)
{
    size_t slot = (uintptr_t)object / 4 * UINT64_C(0x9e3779b97f4a7c15) >> 52;
    while (locations[slot].address && locations[slot].address != object)
        slot = (slot + 1) % TABLE;
    struct location *location = &locations[slot];
    if (location->generation == model_generation && location->address)
        return location;
    if (!location->address && ++addresses > TABLE / 2)
        model_fail("more than %d addresses of atomics", TABLE / 2);
    location->address = object;
    location->generation = model_generation;
    location->count = 0;
    if (location_count == MODEL_LOCATIONS)
        model_fail("more than %d atomic locations", MODEL_LOCATIONS);
    location->id = (uint8_t)location_count;
    by_id[location_count++] = location;
    append(location, peek(object, size))->view = (struct view){0};
    return location;
}

static struct store *newest(const struct location *location)
{
    return &stores[location->stores[location->count - 1]];
}

static bool acquires(memory_order order)
{
    return order == memory_order_acquire || order >= memory_order_acq_rel;
}

static bool releases(memory_order order)
{
    return order >= memory_order_release;
}

/* ---- where threads may be switched ---- */

static void learn(uint8_t *mask, uint8_t bit, bool shared)
{
    if (*mask & bit)
        return;
    *mask |= bit;
    if (shared)
        model_start_over();
}

static void point(struct location *location, bool writes)
{
    uint8_t bit = (uint8_t)(1u << model_self->id);
    uint8_t readers = location->readers, writers = location->writers;
    if (writes) {
        learn(&location->writers, bit, (readers | writers) & ~bit);
        model_point((readers | writers) & ~bit);
    } else {
        learn(&location->readers, bit, writers & ~bit);
        model_point(writers & ~bit);
    }
}

/* ---- reading and writing ---- */

/* The thread reads the store of this index. */
static uint64_t read_from(struct location *location, int index, memory_order order)
{
    struct thread *self = model_self;
    const struct store *store = &stores[location->stores[index]];
    if (self->now.seen[location->id] < index)
        self->now.seen[location->id] = (uint8_t)index;
    model_view_join(acquires(order) ? &self->now : &self->acquired, &store->view);
    return store->value;
}

static void write_to(struct location *location, volatile void *object, size_t size, uint64_t value,
                     memory_order order, const struct store *read)
{
    struct thread *self = model_self;
    struct store *store = append(location, value);
    uint8_t index = (uint8_t)(location->count - 1);
    self->now.seen[location->id] = index;
    store->view = releases(order) ? self->now : self->released;
    if (read)
        model_view_join(&store->view, &read->view);
    store->view.seen[location->id] = index;
    if (order == memory_order_seq_cst)
        sequential.seen[location->id] = index;
    self->now.clock[self->id]++;
    poke(object, size, value);
    model_progress();
}

/* The oldest store that a load of this order may read. */
static int oldest(const struct location *location, memory_order order)
{
    int index = model_self->now.seen[location->id];
    if (order == memory_order_seq_cst && index < sequential.seen[location->id])
        index = sequential.seen[location->id];
    return index;
}

static void trace(const struct model_site *site, uint64_t value, const char *note, uint64_t more)
{
    static const char *const orders[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};
    if (!model_tracing)
        return;
    const char *file = strrchr(site->file, '/');
    model_trace("%s:%d %s: %s %s %s: %#llx%s%#llx", file ? file + 1 : site->file, site->line,
                site->function, site->operation, orders[site->order], site->object,
                (unsigned long long)value, note, (unsigned long long)more);
}

static void enter(struct model_site *site, const volatile void *object)
{
    site->hits++;
    model_operation();
    if (object)
        model_plain_check_alive(object);
}

uint64_t model_load(struct model_site *site, const volatile void *object, size_t size)
{
    if (!model_self)
        return peek(object, size);
    enter(site, object);
    struct location *location = locate(object, size);
    point(location, false);
    int last = location->count - 1, first = oldest(location, site->order);
    int back = model_choose_store(last - first + 1);
    uint64_t value = read_from(location, last - back, site->order);
    trace(site, value, back ? ", newer: " : ", of ", (uint64_t)(back ? back : last));
    return value;
}

void model_store(struct model_site *site, volatile void *object, size_t size, uint64_t value)
{
    if (!model_self) {
        poke(object, size, value);
        return;
    }
    enter(site, object);
    struct location *location = locate(object, size);
    point(location, true);
    write_to(location, object, size, value, site->order, NULL);
    trace(site, value, ", as ", location->count - 1u);
}

void model_init(volatile void *object, size_t size, uint64_t value)
{
    if (!model_self) {
        poke(object, size, value);
        return;
    }
    write_to(locate(object, size), object, size, value, memory_order_relaxed, NULL);
}

static uint64_t changed(uint64_t value, enum model_change how, uint64_t operand)
{
    switch (how) {
    case MODEL_ADD:
        return value + operand;
    case MODEL_SUB:
        return value - operand;
    case MODEL_AND:
        return value & operand;
    case MODEL_OR:
        return value | operand;
    case MODEL_XOR:
        return value ^ operand;
    default:
        return operand;
    }
}

static uint64_t cut(uint64_t value, size_t size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << 8 * size) - 1);
}

uint64_t model_change(struct model_site *site, volatile void *object, size_t size,
                      enum model_change how, uint64_t operand)
{
    if (!model_self) {
        uint64_t value = peek(object, size);
        poke(object, size, changed(value, how, operand));
        return value;
    }
    enter(site, object);
    struct location *location = locate(object, size);
    point(location, true);
    const struct store *read = newest(location);
    uint64_t old = read_from(location, location->count - 1, site->order);
    uint64_t value = cut(changed(old, how, operand), size);
    write_to(location, object, size, value, site->order, read);
    trace(site, old, " becomes ", value);
    return old;
}

/* The stores, newest first, for which a compare-and-swap fails; what it reads then. Returns their
 * number, with the newest as the first whatever it holds. */
static int ways_to_fail(const struct location *location, uint64_t expected, memory_order order,
                        int *ret_indices)
{
    int last = location->count - 1, n = 0;
    ret_indices[n++] = last;
    for (int i = last - 1; i >= oldest(location, order); i--)
        if (stores[location->stores[i]].value != expected)
            ret_indices[n++] = i;
    return n;
}

bool model_swap(struct model_site *site, volatile void *object, size_t size, uint64_t *expected,
                uint64_t desired, bool weak)
{
    int indices[PER_LOCATION + 1];
    if (!model_self) {
        uint64_t value = peek(object, size);
        bool same = value == cut(*expected, size);
        if (same)
            poke(object, size, desired);
        *expected = value;
        return same;
    }
    enter(site, object);
    struct location *location = locate(object, size);
    point(location, true);
    const struct store *read = newest(location);
    bool could = read->value == cut(*expected, size);
    int n = ways_to_fail(location, cut(*expected, size), site->failure, indices);
    if (could && weak)
        indices[n++] = indices[0]; /* for no reason */
    int pick = model_choose_store(n);
    if (could && pick == 0) {
        read_from(location, indices[0], site->order);
        write_to(location, object, size, cut(desired, size), site->order, read);
        trace(site, *expected, " becomes ", desired);
        return true;
    }
    uint64_t wanted = *expected;
    *expected = read_from(location, indices[pick], site->failure);
    trace(site, *expected, pick ? ", an old value or for no reason not " : ", not ", wanted);
    return false;
}

/* ---- fences ---- */

static void full_fence(struct thread *thread)
{
    model_view_join(&thread->now, &thread->acquired);
    join_seen(&thread->now, &sequential);
    join_seen(&sequential, &thread->now);
    thread->released = thread->now;
    thread->now.clock[thread->id]++;
}

void model_fence(struct model_site *site)
{
    struct thread *self = model_self;
    if (!self)
        return;
    enter(site, NULL);
    model_point(true);
    if (site->order == memory_order_seq_cst)
        full_fence(self);
    if (acquires(site->order))
        model_view_join(&self->now, &self->acquired);
    if (releases(site->order)) {
        self->released = self->now;
        self->now.clock[self->id]++;
    }
    trace(site, 0, "", 0);
}

void model_memory_barrier(void)
{
    for (int i = 0; i < model_thread_count; i++)
        full_fence(&model_threads[i]);
    for (int i = 0; i < model_thread_count; i++) /* all know what all had written */
        full_fence(&model_threads[i]);
}

uint32_t model_memory_newest(const volatile void *object)
{
    struct location *location = locate(object, sizeof(uint32_t));
    model_self->now.seen[location->id] = (uint8_t)(location->count - 1);
    return (uint32_t)newest(location)->value;
}

void model_memory_catch_up(void)
{
    for (int i = 0; i < location_count; i++)
        model_self->now.seen[i] = (uint8_t)(by_id[i]->count - 1);
}
