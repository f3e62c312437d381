/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A handler that calls a function of a C module. A module is a shared object that exports
 * one table, `ftl_module`; it takes libfettle from the process that loads it, so that there is one
 * runtime. Its tables are short: a class is looked up by going through them.
 *
 * Loading a module runs its constructors, on the thread that makes the handler. It is never
 * unloaded: a task, a destructor or a thread of its own may still be in it, and the same file
 * loaded again is the same module. Its runs are pinned tasks, since a compiler may keep the address
 * of a thread-local variable across a call that waits.
 *
 * A handler is immutable but for what it learns of its classes: which have kept a worker, if it is to
 * move these to the blocking pool (blocking = "auto"), and which are to run in child processes for
 * some time, because they have crashed (isolation = "auto"). While no child process can be started
 * these are run here as before: a crash of one class must not be the end of all its jobs. Control
 * writes that down; a run of such a
 * class that was spawned before, and gets its turn only now, sees it and gives its worker back at
 * once, so that a row of hogs holds up what is behind it no longer than until the first is noticed.
 *
 * The child processes are a handler of their own (children.c), started for the first class that is to
 * run there and given up with the last one; runs that are still there have references to it. */
#include <dlfcn.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/handler.h"
#include "runtime/fault.h"

struct native {
    struct ftl__handler base;
    const struct ftl_module *module; /* in the shared object: there for good */
    _Atomic bool any_moved;
    _Atomic bool childless;       /* no child process is to be had: they stay here */
    _Atomic unsigned char *moved; /* for each class of the module: 1 << FTL__PLACE_… */

    /* With base.isolates: */
    struct ftl__children_settings settings;
    struct ftl__handler_host host;  /* once it is started */
    struct ftl__handler *children;  /* NULL: no class is isolated */
    size_t isolated;                /* classes */
    bool stopping;
};

#define IN(place) (1U << FTL__PLACE_##place)

/* ---- runs ------------------------------------------------------------------------------- */

static const struct ftl_class *find_class(const struct ftl_module *module, const char *name,
                                          size_t size)
{
    for (const struct ftl_class *class = module->classes; class->name != NULL; class ++) {
        if (strlen(class->name) == size && memcmp(class->name, name, size) == 0) {
            return class;
        }
    }
    return NULL;
}

static bool native_serves(const struct ftl__handler *handler, const char *class, size_t size)
{
    return find_class(((const struct native *)handler)->module, class, size) != NULL;
}

static bool is_moved(const struct native *native, const struct ftl_class *class, unsigned bit)
{
    const _Atomic unsigned char *moved = &native->moved[class - native->module->classes];

    return (atomic_load_explicit(moved, memory_order_relaxed) & bit) != 0;
}

/* Where it is known to belong, other than where the configuration says. */
static enum ftl__place moved_to(const struct native *native, const struct ftl_class *class)
{
    /* Relaxed: nothing else is read by it, and who sees it late stalls, or crashes, once more. */
    if (!atomic_load_explicit(&native->any_moved, memory_order_relaxed)) {
        return FTL__PLACE_TASK;
    }
    if (is_moved(native, class, IN(CHILD)) &&
        !atomic_load_explicit(&native->childless, memory_order_relaxed)) {
        return FTL__PLACE_CHILD;
    }
    return is_moved(native, class, IN(POOL)) ? FTL__PLACE_POOL : FTL__PLACE_TASK;
}

/* Control alone writes. */
static void set_moved(struct native *native, const struct ftl_class *class, unsigned bit, bool on)
{
    _Atomic unsigned char *moved = &native->moved[class - native->module->classes];
    unsigned old = atomic_load_explicit(moved, memory_order_relaxed);

    atomic_store_explicit(moved, (unsigned char)(on ? old | bit : old & ~bit),
                          memory_order_relaxed);
    atomic_store_explicit(&native->any_moved, true, memory_order_relaxed);
}

static int native_run(struct ftl__handler *handler, struct ftl_run *run)
{
    const struct native *native = (const struct native *)handler;
    const struct ftl_class *class = find_class(native->module, run->class, strlen(run->class));

    ftl_assert(class != NULL); /* the registry has asked native_serves() */
    if (moved_to(native, class) > run->place) {
        run->verdict = FTL__VERDICT_MOVED;
        return 0;
    }
    return class->fn(run);
}

/* Control. */
static void look_at_children(struct native *native)
{
    bool childless = native->children == NULL || ftl__workers_are_down(native->children);

    atomic_store_explicit(&native->childless, childless, memory_order_relaxed);
}

static enum ftl__place native_place(struct ftl__handler *handler, const char *class)
{
    struct native *native = (struct native *)handler;
    enum ftl__place place = handler->blocking == FTL__BLOCKING_ALWAYS ? FTL__PLACE_POOL
                                                                      : FTL__PLACE_TASK;

    if (atomic_load_explicit(&native->any_moved, memory_order_relaxed)) {
        enum ftl__place other;

        look_at_children(native);
        other = moved_to(native, find_class(native->module, class, strlen(class)));
        place = other > place ? other : place;
    }
    return place;
}

static bool native_stalled(struct ftl__handler *handler, const char *class)
{
    struct native *native = (struct native *)handler;
    const struct ftl_class *found = find_class(native->module, class, strlen(class));

    if (handler->blocking != FTL__BLOCKING_AUTO || found == NULL ||
        moved_to(native, found) != FTL__PLACE_TASK) {
        return false;
    }
    set_moved(native, found, IN(POOL), true);
    return true;
}

/* ---- child processes -------------------------------------------------------------------- */

/* NULL: not now. Who asks again tries again. */
static struct ftl__handler *start_children(const struct native *native)
{
    struct ftl__handler *children;
    char error[256];

    if (ftl__children_new(&native->base, &native->settings, false, &children,
                                              error, sizeof(error)) != 0) {
        return NULL;
    }
    if (children->kind->start(children, &native->host) != 0) {
        ftl__handler_unref(children);
        return NULL;
    }
    return children;
}

static bool native_isolate(struct ftl__handler *handler, const char *class, bool isolated)
{
    struct native *native = (struct native *)handler;
    const struct ftl_class *found = find_class(native->module, class, strlen(class));

    if (!handler->isolates || found == NULL || is_moved(native, found, IN(CHILD)) == isolated) {
        return false;
    }
    /* A handler that stops has no more runs: then it is only said. */
    if (native->children == NULL && !native->stopping &&
        (native->children = start_children(native)) == NULL) {
        return false;
    }
    set_moved(native, found, IN(CHILD), isolated);
    native->isolated += isolated ? 1 : (size_t)-1;
    if (native->isolated == 0) {
        ftl__handler_unref(native->children);
        native->children = NULL;
    }
    return true;
}

static struct ftl__handler *native_children(struct ftl__handler *handler)
{
    return ftl__handler_ref(((struct native *)handler)->children);
}

static int native_alone(struct ftl__handler *handler, struct ftl__handler **ret_handler)
{
    const struct native *native = (const struct native *)handler;

    return ftl__children_alone(handler, &native->settings, &native->host, ret_handler);
}

static int native_start(struct ftl__handler *handler, const struct ftl__handler_host *host)
{
    ((struct native *)handler)->host = *host;
    return 0;
}

static void native_stop(struct ftl__handler *handler)
{
    struct native *native = (struct native *)handler;

    native->stopping = true;
    if (native->children != NULL) {
        native->children->kind->stop(native->children);
    }
}

static void native_await(struct ftl__handler *handler, int64_t deadline)
{
    struct ftl__handler *children = ((struct native *)handler)->children;

    if (children != NULL) {
        ftl__handler_ref(children); /* its class may be released meanwhile */
        children->kind->await(children, deadline);
        ftl__handler_unref(children);
    }
}

void ftl__native_allow_children(struct ftl__handler *handler,
                                const struct ftl__children_settings *settings)
{
    handler->isolates = true;
    ((struct native *)handler)->settings = *settings;
}

/* ---- life ------------------------------------------------------------------------------- */

void ftl__native_file(const struct ftl__handler *handler, char ret_file[PATH_MAX])
{
    const struct ftl_module *module = ((const struct native *)handler)->module;
    Dl_info info;

    ftl_assert(dladdr(module, &info) != 0); /* it is in an object that was loaded */
    if (realpath(info.dli_fname, ret_file) == NULL) {
        (void)snprintf(ret_file, PATH_MAX, "%s", info.dli_fname); /* gone: the child will say so */
    }
}

static void native_destroy(struct ftl__handler *handler)
{
    struct native *native = (struct native *)handler;

    ftl__handler_unref(native->children);
    ftl__handler_fini(handler);
    free(native->moved);
    free(native);
}

static const struct ftl__handler_kind native_kind = {
    .name = "module",
    .migratable = false,
    .run = native_run,
    .serves = native_serves,
    .place = native_place,
    .stalled = native_stalled,
    .isolate = native_isolate,
    .children = native_children,
    .alone = native_alone,
    .start = native_start,
    .stop = native_stop,
    .await = native_await,
    .destroy = native_destroy,
};

/* ---- loading ---------------------------------------------------------------------------- */

struct text {
    char *begin;
    size_t size; /* of the buffer */
};

/* Writes the error as one line, however the loader words it. */
static FTL_PRINTF(2, 3) int refuse(const struct text *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(error->begin, error->size, format, args);
    va_end(args);
    for (char *p = error->begin; *p != '\0'; p++) {
        if (*p == '\n') {
            *p = ' ';
        }
    }
    return FTL_EINVAL;
}

/* Appends to the text, as far as it fits. */
static FTL_PRINTF(2, 3) void append(const struct text *text, const char *format, ...)
{
    size_t used = strlen(text->begin);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text->begin + used, text->size - used, format, args);
    va_end(args);
}

static int resolve(const char *module, const char *const *path, size_t path_count,
                   char ret_file[PATH_MAX], const struct text *error)
{
    if (strchr(module, '/') != NULL) {
        if (snprintf(ret_file, PATH_MAX, "%s", module) >= PATH_MAX) {
            return refuse(error, "module: the path is too long");
        }
        return 0;
    }
    for (size_t i = 0; i < path_count; i++) {
        int size = snprintf(ret_file, PATH_MAX, "%s/%s.so", path[i], module);

        if (size < PATH_MAX && access(ret_file, F_OK) == 0) {
            return 0;
        }
    }
    (void)refuse(error, "module %s: there is no %s.so in", module, module);
    for (size_t i = 0; i < path_count; i++) {
        append(error, "%s %s", i > 0 ? "," : "", path[i]);
    }
    if (path_count == 0) {
        append(error, " an empty module path");
    }
    return FTL_EINVAL;
}

/* The module's table is well-formed, or *error says in what it is not. */
static int check_table(const struct ftl_module *module, const char *file, const struct text *error)
{
    if (module->abi != FTL_MODULE_ABI) {
        return refuse(error, "module %s: made for ABI %u, this is ABI %u", file,
                      (unsigned)module->abi, (unsigned)FTL_MODULE_ABI);
    }
    if (module->name == NULL || module->classes == NULL || module->classes->name == NULL) {
        return refuse(error, "module %s: its table has no classes", file);
    }
    for (const struct ftl_class *class = module->classes; class->name != NULL; class ++) {
        if (class->fn == NULL) {
            return refuse(error, "module %s: the class %s has no function", file, class->name);
        }
    }
    return 0;
}

static int load(const char *file, const struct ftl_module **ret_module, const struct text *error)
{
    const struct ftl_module *module;
    void *object = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    int rc;

    if (object == NULL) {
        return refuse(error, "module %s", dlerror()); /* it begins with the file */
    }
    module = dlsym(object, "ftl_module");
    if (module == NULL) {
        return refuse(error, "module %s: not a fettle module (it exports no ftl_module)", file);
    }
    rc = check_table(module, file, error);
    if (rc == 0) {
        ftl__fault_own(module); /* a fault in it is its own, and not a library's */
        *ret_module = module;
    }
    return rc;
}

/* A pattern that takes none of the module's classes is a mistake. */
static int check_pattern(const struct ftl_module *module, const char *pattern,
                         const struct text *error)
{
    const struct ftl_class *class;

    for (class = module->classes; class->name != NULL; class ++) {
        if (fnmatch(pattern, class->name, 0) == 0) {
            return 0;
        }
    }
    (void)refuse(error, "module %s has no class %s (it has", module->name, pattern);
    for (class = module->classes; class->name != NULL; class ++) {
        append(error, "%s %s", class != module->classes ? "," : "", class->name);
    }
    append(error, ")");
    return FTL_EINVAL;
}

static struct native *new_native(const struct ftl__handler_settings *settings,
                                 const struct ftl_module *module)
{
    struct native *native = calloc(1, sizeof(*native));
    size_t classes = 0;

    if (native == NULL) {
        return NULL;
    }
    while (module->classes[classes].name != NULL) {
        classes++;
    }
    native->moved = calloc(classes, sizeof(*native->moved));
    if (native->moved == NULL ||
        ftl__handler_init(&native->base, &native_kind, settings) != 0) {
        free(native->moved);
        free(native);
        return NULL;
    }
    native->module = module;
    return native;
}

int ftl__native_new(const struct ftl__handler_settings *settings, const char *module_name,
                    const char *const *module_path, size_t module_path_count,
                    struct ftl__handler **ret_handler, char *error, size_t error_size)
{
    const struct text text = {error, error_size};
    const struct ftl_module *module = NULL;
    struct native *native;
    char file[PATH_MAX];
    int rc;

    rc = resolve(module_name, module_path, module_path_count, file, &text);
    if (rc == 0) {
        rc = load(file, &module, &text);
    }
    if (rc == 0) {
        rc = check_pattern(module, settings->pattern, &text);
    }
    if (rc != 0) {
        return rc;
    }
    native = new_native(settings, module);
    if (native == NULL) {
        (void)refuse(&text, "%s", ftl_error_text(FTL_ENOMEM));
        return FTL_ENOMEM;
    }
    *ret_handler = &native->base;
    return 0;
}
