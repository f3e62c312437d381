/* SPDX-License-Identifier: MIT
 *
 * The end of the program, which nobody but main() decides on. */
#ifndef FETTLE_DAEMON_INTERPOSE_H
#define FETTLE_DAEMON_INTERPOSE_H

/* From here on the process may exit. Until then an exit outside of tasks is a SIGABRT. */
void ftl__interpose_end(void);

#endif
