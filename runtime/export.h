/* SPDX-License-Identifier: MIT
 *
 * What the shared library exports, and the attributes its headers use. */
#ifndef FETTLE_EXPORT_H
#define FETTLE_EXPORT_H

#define FTL_API __attribute__((visibility("default")))
#define FTL_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define FTL_NORETURN __attribute__((noreturn))

#endif
