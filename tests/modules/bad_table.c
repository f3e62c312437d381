/* SPDX-License-Identifier: MIT
 *
 * A module with a class that nothing runs. */
#include <fettle/module.h>

FTL_MODULE("bad_table", {"Hollow", NULL});
