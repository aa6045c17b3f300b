/* Loaded before libc into one gateway of a test: while the file named by IT_FSYNC_FAILS exists, fsync and fdatasync
   of a file whose path contains the first line of that file fail as a dying disk does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd) {
    const char *trigger = getenv("IT_FSYNC_FAILS");
    if (!trigger) return 0;
    int from = open(trigger, O_RDONLY | O_CLOEXEC);
    if (from < 0) return 0;
    char part[256];
    ssize_t read_len = read(from, part, sizeof part - 1);
    close(from);
    if (read_len <= 0) return 0;
    part[read_len] = 0;
    part[strcspn(part, "\n")] = 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t path_len = readlink(link, path, sizeof path - 1);
    if (path_len <= 0) return 0;
    path[path_len] = 0;
    return strstr(path, part) != NULL;
}

static int call(const char *name, int fd) {
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real ? real(fd) : 0;
}

int fsync(int fd) { return call("fsync", fd); }
int fdatasync(int fd) { return call("fdatasync", fd); }
