/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Names and texts of the error codes, from the one list in error.h. */
#include <fettle/error.h>

const char *ftl_error_name(int code)
{
    switch (code) {
    case 0:
        return "FTL_OK";
#define X(value, name, text)                                                                       \
    case FTL_##name:                                                                               \
        return "FTL_" #name;
        FTL_ERROR_MAP(X)
#undef X
    default:
        return "FTL_E?";
    }
}

const char *ftl_error_text(int code)
{
    switch (code) {
    case 0:
        return "success";
#define X(value, name, text)                                                                       \
    case FTL_##name:                                                                               \
        return text;
        FTL_ERROR_MAP(X)
#undef X
    default:
        return "unknown error";
    }
}
