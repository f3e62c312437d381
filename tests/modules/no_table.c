/* SPDX-License-Identifier: MIT
 *
 * A shared object that is no module. */
#include <fettle/export.h>

FTL_API int answer(void);

int answer(void)
{
    return 42;
}
