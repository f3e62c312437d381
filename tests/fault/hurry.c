/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Preloaded into fettled by the test that cuts thousands of connections: ftl_sleep() lasts
 * a twentieth of what it was told, and so do the pauses between two tries to connect and after an
 * error. Nothing else is changed. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

#include <fettle/time.h>

int ftl_sleep(int64_t ns)
{
    static int (*original)(int64_t);
    if (original == NULL)
        *(void **)&original = dlsym(RTLD_NEXT, "ftl_sleep");
    if (original == NULL)
        abort();
    return original(ns / 20);
}
