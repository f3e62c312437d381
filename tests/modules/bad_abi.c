/* SPDX-License-Identifier: MIT
 *
 * A module of another time: right in everything but the ABI. */
#include <fettle/module.h>

static int noop(struct ftl_run *run)
{
    (void)run;
    return 0;
}

static const struct ftl_class classes[] = {{"Noop", noop}, {NULL, NULL}};
FTL_API const struct ftl_module ftl_module = {FTL_MODULE_ABI + 1, "bad_abi", classes};
