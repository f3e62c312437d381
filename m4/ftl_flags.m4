# SPDX-License-Identifier: MIT
# Compiler and linker flags, each probed. Their effect is checked on the built programs by
# tests/hardening.sh: a probe says only that the compiler takes a flag.

# FTL_ADD_CFLAG(VARIABLE, FLAG): adds FLAG to VARIABLE if the compiler takes it without a warning.
AC_DEFUN([FTL_ADD_CFLAG], [
    AS_VAR_PUSHDEF([cache], [ftl_cv_cflag_$2])
    AC_CACHE_CHECK([whether $CC takes $2], [cache], [
        ftl_saved_cflags=$CFLAGS
        CFLAGS="$CFLAGS -Werror $2"
        AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
                          [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
        CFLAGS=$ftl_saved_cflags])
    AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$1], [" $2"])])
    AS_VAR_POPDEF([cache])
])

# FTL_ADD_LDFLAG(VARIABLE, FLAG): the same for a linker flag.
AC_DEFUN([FTL_ADD_LDFLAG], [
    AS_VAR_PUSHDEF([cache], [ftl_cv_ldflag_$2])
    AC_CACHE_CHECK([whether the linker takes $2], [cache], [
        ftl_saved_ldflags=$LDFLAGS
        LDFLAGS="$LDFLAGS -Werror $2"
        AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
                       [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
        LDFLAGS=$ftl_saved_ldflags])
    AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$1], [" $2"])])
    AS_VAR_POPDEF([cache])
])

AC_DEFUN([FTL_WARNING_FLAGS], [
    m4_foreach_w([flag], [-Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
                          -Wformat=2 -Wundef -Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings
                          -Wimplicit-fallthrough -Wold-style-definition],
        [FTL_ADD_CFLAG([FTL_CFLAGS], flag)])
    AS_IF([test "x$enable_werror" = xyes], [AS_VAR_APPEND([FTL_CFLAGS], [" -Werror"])])
])

# address,undefined or thread, for everything that is built.
AC_DEFUN([FTL_SANITIZER_FLAGS], [
    AS_CASE([$enable_sanitizer],
        [no|none], [enable_sanitizer=none],
        [yes], [AC_MSG_ERROR([--enable-sanitizer needs a list: address,undefined or thread])],
        [ftl_sanitize="-fsanitize=$enable_sanitizer"
         AS_CASE([",$enable_sanitizer,"], [*,undefined,*],
                 [AS_VAR_APPEND([ftl_sanitize], [" -fno-sanitize-recover=undefined"])])
         ftl_saved_cflags=$CFLAGS
         CFLAGS="$CFLAGS $ftl_sanitize"
         AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [],
                        [AC_MSG_ERROR([$CC cannot link with $ftl_sanitize])])
         CFLAGS=$ftl_saved_cflags
         AS_VAR_APPEND([FTL_CFLAGS], [" $ftl_sanitize"])
         AS_VAR_APPEND([FTL_LDFLAGS], [" $ftl_sanitize"])])
    AM_CONDITIONAL([SANITIZER], [test "$enable_sanitizer" != none])
    AM_CONDITIONAL([SANITIZE_THREAD], [test "$enable_sanitizer" = thread])
    AC_DEFINE_UNQUOTED([FTL_SANITIZER], ["$enable_sanitizer"],
                       [The sanitizers that were built in, or "none".])
])

# No -fcf-protection: tasks switch stacks by themselves, which a shadow stack does not allow.
AC_DEFUN([FTL_HARDENING_FLAGS], [
    m4_foreach_w([flag], [-fno-omit-frame-pointer -fstack-clash-protection -fstack-protector-strong
                          -fno-semantic-interposition -fno-common],
        [FTL_ADD_CFLAG([FTL_CFLAGS], flag)])
    FTL_ADD_LDFLAG([FTL_LDFLAGS], [-Wl,-z,relro])
    FTL_ADD_LDFLAG([FTL_LDFLAGS], [-Wl,-z,now])
    FTL_ADD_LDFLAG([FTL_LDFLAGS], [-Wl,-z,noexecstack])
    FTL_ADD_LDFLAG([FTL_LDFLAGS], [-Wl,-z,separate-code])
    FTL_ADD_LDFLAG([FTL_LDFLAGS], [-Wl,--as-needed])
    FTL_ADD_CFLAG([FTL_PROGRAM_CFLAGS], [-fPIE])
    FTL_ADD_LDFLAG([FTL_PROGRAM_LDFLAGS], [-pie])

    # FORTIFY needs optimisation, and the sanitizers have checks of their own.
    AS_CASE(["$enable_sanitizer $CFLAGS"],
        [none*-O@<:@123s@:>@*],
        [AS_VAR_APPEND([FTL_CPPFLAGS], [" -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])])
])

# tests/model sees plain accesses where the compiler makes a call of each, as for ThreadSanitizer, but
# compiles the code as it is without it. Clang cannot be told the second: there it sees atomics only.
AC_DEFUN([FTL_MODEL_FLAGS], [
    AC_CACHE_CHECK([whether $CC can tell tests/model of plain accesses], [ftl_cv_model_flags], [
        ftl_saved_cflags=$CFLAGS
        CFLAGS="$CFLAGS -fsanitize=thread -U__SANITIZE_THREAD__"
        AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
#if defined __clang__ || defined __SANITIZE_THREAD__
#error the sources would know
#endif
]])], [ftl_cv_model_flags=yes], [ftl_cv_model_flags=no])
        CFLAGS=$ftl_saved_cflags])
    AS_IF([test $ftl_cv_model_flags = yes],
          [FTL_MODEL_CFLAGS='-fsanitize=thread -U__SANITIZE_THREAD__'])
])
