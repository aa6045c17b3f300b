/* Loaded before libc into one gateway: its clock and its disk do as the file named by CHAOS_MACHINE says, from one moment to the next.
   The file is mapped, so that whoever plays with it writes into it while the gateway runs, and reads what is durable after its death. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct machine {
    /* Told to us: added to the wall clock; nothing below the gateway's data folder can be written; nothing can be made durable. */
    volatile int64_t clock_ms;
    volatile uint32_t full;
    volatile uint32_t failing;
    /* Told by us: the log file that was written last, and how much of it fdatasync has promised. */
    volatile uint64_t log_inode;
    volatile uint64_t log_durable;
};

static struct machine none;
static struct machine *machine = &none;
/* Where the last write to the log ended. */
static volatile uint64_t log_end;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_MACHINE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct machine), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) machine = mapped;
}

#define REAL(name, type) \
    static __typeof__(type) *real; \
    if (!real) real = (__typeof__(type) *)dlsym(RTLD_NEXT, name)

/* -- the clock -- */

int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL("clock_gettime", int(clockid_t, struct timespec *));
    int result = real(clock, at);
    int64_t off = machine->clock_ms;
    if (result == 0 && off != 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nanos = at->tv_nsec + (off % 1000) * 1000000;
        at->tv_sec += off / 1000 + (nanos < 0 ? -1 : nanos / 1000000000);
        at->tv_nsec = nanos < 0 ? nanos + 1000000000 : nanos % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* -- the disk -- */

/* Whether `fd` is a file below a folder `data`, and one of the log's at that. */
static int is_data(int fd, int *log) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    *log = len > 8 && strcmp(path + len - 8, ".raftlog") == 0;
    return strstr(path, "/data/") != NULL;
}

static int no_space(int fd) {
    int log;
    if (!machine->full || !is_data(fd, &log)) return 0;
    errno = ENOSPC;
    return 1;
}

static void written(int fd, uint64_t end) {
    int log = 0;
    struct stat about;
    if (!is_data(fd, &log) || !log || fstat(fd, &about) != 0) return;
    if (machine->log_inode != about.st_ino) {
        machine->log_durable = 0;
        machine->log_inode = about.st_ino;
        log_end = 0;
    }
    if (end > log_end) log_end = end;
}

static ssize_t put_at(int fd, const void *bytes, size_t len, off_t at) {
    REAL("pwrite64", ssize_t(int, const void *, size_t, off_t));
    if (no_space(fd)) return -1;
    ssize_t result = real(fd, bytes, len, at);
    if (result > 0) written(fd, (uint64_t)at + (uint64_t)result);
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return put_at(fd, bytes, len, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) { return put_at(fd, bytes, len, at); }

ssize_t write(int fd, const void *bytes, size_t len) {
    REAL("write", ssize_t(int, const void *, size_t));
    return no_space(fd) ? -1 : real(fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL("writev", ssize_t(int, const struct iovec *, int));
    return no_space(fd) ? -1 : real(fd, parts, count);
}

static int resize(int fd, off_t len) {
    REAL("ftruncate64", int(int, off_t));
    return no_space(fd) ? -1 : real(fd, len);
}

int ftruncate(int fd, off_t len) { return resize(fd, len); }
int ftruncate64(int fd, off_t len) { return resize(fd, len); }

static int reserve(int fd, int mode, off_t at, off_t len) {
    REAL("fallocate64", int(int, int, off_t, off_t));
    return no_space(fd) ? -1 : real(fd, mode, at, len);
}

int fallocate(int fd, int mode, off_t at, off_t len) { return reserve(fd, mode, at, len); }
int fallocate64(int fd, int mode, off_t at, off_t len) { return reserve(fd, mode, at, len); }

static int reserve_posix(int fd, off_t at, off_t len) {
    REAL("posix_fallocate64", int(int, off_t, off_t));
    return no_space(fd) ? ENOSPC : real(fd, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len) { return reserve_posix(fd, at, len); }
int posix_fallocate64(int fd, off_t at, off_t len) { return reserve_posix(fd, at, len); }

static int make_durable(int fd, int (*real)(int)) {
    int log = 0, data = is_data(fd, &log);
    struct stat about;
    if (data && machine->failing) {
        errno = EIO;
        return -1;
    }
    uint64_t end = log_end;
    int result = real(fd);
    if (result == 0 && data && log && fstat(fd, &about) == 0 && about.st_ino == machine->log_inode) {
        /* Before this process has written to it: all that an earlier one has. */
        machine->log_durable = end ? end : (uint64_t)about.st_size;
    }
    return result;
}

int fsync(int fd) {
    REAL("fsync", int(int));
    return make_durable(fd, real);
}

int fdatasync(int fd) {
    REAL("fdatasync", int(int));
    return make_durable(fd, real);
}
