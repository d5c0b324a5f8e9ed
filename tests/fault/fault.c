/* Faults under the files of a store: a library that is preloaded (LD_PRELOAD) into the process that has the store
 * open. It counts the writes and the syncs of the store's files, and injects the faults that a control file selects:
 * a call fails, a call blocks, or the process dies as by `kill -9`. Linux only.
 *
 * HEDDLE_FAULT_STORE    the store's absolute path: it, its log (-wal) and its -journal are meant
 * HEDDLE_FAULT_CONTROL  a file of `struct control`, which the test reads and writes while the process runs
 * HEDDLE_FAULT_DISK     optional, a folder: it gets a copy of each of these files as last synced, which is the content
 *                       that the disk is sure to have. A power failure leaves some state between this copy and the
 *                       file itself.
 *
 * The map of the -shm file holds nothing that outlives a crash and is left alone. These are the calls by which SQLite
 * and Rust's standard library write; none of them is made with several buffers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2 };
enum action { NOTHING, FAIL, DIE_BEFORE, DIE_AFTER, TEAR, FREEZE };

/* The words of the control file; tests/src/fault.rs has the same. */
struct control {
    _Atomic uint64_t writes; /* the number of writes */
    _Atomic uint64_t syncs;
    _Atomic uint64_t hit;    /* how many got a fault */
    _Atomic uint64_t frozen; /* how many are blocked now */
    _Atomic uint64_t action; /* the fault */
    _Atomic uint64_t kinds;  /* to which: WRITES, SYNCS or both, each counted by itself */
    _Atomic uint64_t first;  /* from this one on, */
    _Atomic uint64_t last;   /* up to this one */
    _Atomic uint64_t error;  /* the errno of those that fail */
};

/* A file of the store, and what was written to it since it was synced. */
struct file {
    const char *suffix;
    struct range { off_t from, to; } *dirty;
    size_t count, room;
};

static struct file files[] = {{.suffix = ""}, {.suffix = "-wal"}, {.suffix = "-journal"}};
static const char *store, *disk;
static struct control *control;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

static void give_up(const char *what) {
    fprintf(stderr, "the fault layer cannot work: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    const char *path = getenv("HEDDLE_FAULT_CONTROL");
    if (!path)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        give_up(path);
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        give_up(path);
    close(fd);
    disk = getenv("HEDDLE_FAULT_DISK");
    store = getenv("HEDDLE_FAULT_STORE");
    if (!store)
        give_up("HEDDLE_FAULT_STORE is not set");
    control = map;
}

static struct file *file_at(const char *path) {
    size_t length = strlen(store);
    if (strncmp(path, store, length) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(path + length, files[i].suffix) == 0)
            return &files[i];
    return NULL;
}

static struct file *file_of(int fd) {
    char link[32], path[PATH_MAX];
    if (!control)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return NULL;
    path[length] = 0;
    return file_at(path);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts one, and says what is done to it. A death before it has happened then, and a freeze is over. */
static enum action meet(uint64_t kind) {
    uint64_t n = atomic_fetch_add(kind == WRITES ? &control->writes : &control->syncs, 1) + 1;
    enum action action = control->action;
    if (action == NOTHING || !(control->kinds & kind) || n < control->first || n > control->last)
        return NOTHING;
    atomic_fetch_add(&control->hit, 1);
    if (action == DIE_BEFORE)
        die();
    if (action == FREEZE) {
        atomic_fetch_add(&control->frozen, 1);
        while (control->action == FREEZE)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        atomic_fetch_sub(&control->frozen, 1);
        return NOTHING;
    }
    return action;
}

static int refuse(void) {
    errno = (int)control->error;
    return -1;
}

/* Keeps that these bytes of the file are not on the disk for sure. */
static void wrote(struct file *file, off_t from, ssize_t length) {
    if (!disk || length <= 0)
        return;
    pthread_mutex_lock(&lock);
    if (file->count == file->room) {
        file->room = 2 * file->room + 64;
        file->dirty = realloc(file->dirty, file->room * sizeof *file->dirty);
        if (!file->dirty)
            give_up("memory");
    }
    file->dirty[file->count++] = (struct range){from, from + length};
    pthread_mutex_unlock(&lock);
}

static void on_disk(char *path, const struct file *file) {
    snprintf(path, PATH_MAX, "%s/%s%s", disk, strrchr(store, '/') + 1, file->suffix);
}

/* Copies what was written to the file: from here on the disk has it for sure. */
static void synced(int fd, struct file *file) {
    char path[PATH_MAX], bytes[65536];
    struct stat now;
    if (!disk)
        return;
    pthread_mutex_lock(&lock);
    on_disk(path, file);
    int copy = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (copy < 0 || fstat(fd, &now) < 0)
        give_up(path);
    for (size_t i = 0; i < file->count; i++)
        for (off_t at = file->dirty[i].from; at < file->dirty[i].to;) {
            size_t left = file->dirty[i].to - at;
            ssize_t got = pread(fd, bytes, left < sizeof bytes ? left : sizeof bytes, at);
            if (got <= 0)
                break; /* it was cut meanwhile */
            if (real_pwrite(copy, bytes, got, at) != got)
                give_up(path);
            at += got;
        }
    if (real_ftruncate(copy, now.st_size) < 0)
        give_up(path);
    close(copy);
    file->count = 0;
    pthread_mutex_unlock(&lock);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
    struct file *file = file_of(fd);
    enum action action = file ? meet(WRITES) : NOTHING;
    if (action == FAIL)
        return refuse();
    ssize_t written = real_pwrite(fd, bytes, action == TEAR ? length / 2 : length, at);
    if (file)
        wrote(file, at, written);
    if (action != NOTHING)
        die();
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct file *file = file_of(fd);
    if (!file)
        return real_write(fd, bytes, length);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = pwrite64(fd, bytes, length, at);
    if (written > 0)
        lseek(fd, at + written, SEEK_SET);
    return written;
}

int ftruncate64(int fd, off_t length) {
    enum action action = file_of(fd) ? meet(WRITES) : NOTHING;
    if (action == FAIL)
        return refuse();
    if (action == TEAR)
        die();
    int done = real_ftruncate(fd, length);
    if (action == DIE_AFTER)
        die();
    return done;
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

static int sync_by(int (*real)(int), int fd) {
    struct file *file = file_of(fd);
    enum action action = file ? meet(SYNCS) : NOTHING;
    if (action == FAIL) {
        /* What was not synced then is not on the disk, and no later sync brings it there: Linux tells it once. */
        pthread_mutex_lock(&lock);
        file->count = 0;
        pthread_mutex_unlock(&lock);
        return refuse();
    }
    if (action == TEAR)
        die();
    int done = real(fd);
    if (file && done == 0)
        synced(fd, file);
    if (action == DIE_AFTER)
        die();
    return done;
}

int fsync(int fd) {
    return sync_by(real_fsync, fd);
}

int fdatasync(int fd) {
    return sync_by(real_fdatasync, fd);
}

int unlink(const char *path) {
    struct file *file = control ? file_at(path) : NULL;
    int done = real_unlink(path);
    if (file && disk && done == 0) {
        char copy[PATH_MAX];
        pthread_mutex_lock(&lock);
        on_disk(copy, file);
        real_unlink(copy);
        file->count = 0;
        pthread_mutex_unlock(&lock);
    }
    return done;
}
