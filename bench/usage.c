/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Linux counts nanoseconds in /proc/PID/task/TID/schedstat; a thread that ends in between
 * takes its own with it. */
#include "bench/usage.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool first_line(pid_t pid, const char *thread, const char *name, char *buf, int size)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task/%s/%s", (int)pid, thread, name);
    FILE *file = fopen(path, "r");
    bool any = file != NULL && fgets(buf, size, file) != NULL;
    if (file != NULL)
        (void)fclose(file);
    return any;
}

int64_t usage_of(pid_t pid, const char *name)
{
    char path[64], line[128];
    int64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        long long ns;
        if (entry->d_name[0] != '.' &&
            first_line(pid, entry->d_name, "comm", line, sizeof line) &&
            strncmp(line, name, strlen(name)) == 0 &&
            first_line(pid, entry->d_name, "schedstat", line, sizeof line) &&
            sscanf(line, "%lld", &ns) == 1)
            sum += ns;
    }
    (void)closedir(threads);
    return sum;
}
