/* A file system that does not answer: a library that is preloaded (LD_PRELOAD) into a process. Linux only.
 *
 * HEDDLE_STALL_FOLDER  an absolute path: reads of the files in it block
 * HEDDLE_STALL_WHILE   a file: they block while this file exists */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder, *gate;
static ssize_t (*real_pread)(int, void *, size_t, off64_t);

__attribute__((constructor)) static void begin(void) {
    real_pread = dlsym(RTLD_NEXT, "pread64");
    folder = getenv("HEDDLE_STALL_FOLDER");
    gate = getenv("HEDDLE_STALL_WHILE");
}

static int is_in_folder(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0)
        return 0;
    path[len] = 0;
    size_t in = strlen(folder);
    return strncmp(path, folder, in) == 0 && path[in] == '/';
}

ssize_t pread64(int fd, void *into, size_t len, off64_t at) {
    if (folder && gate && is_in_folder(fd))
        while (access(gate, F_OK) == 0)
            usleep(10000);
    return real_pread(fd, into, len, at);
}
