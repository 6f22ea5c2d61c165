/* Stands between a process and the C library (LD_PRELOAD) and makes its disk fail to order.
 *
 * Every call that changes a file or a name under one folder is counted from 1. The process can be
 * killed before a call, a call can return an error or write only half, and all calls can be
 * logged with their data, so that a loss of power can be replayed afterwards.
 * tests/faults/shim.py compiles this file, drives it and reads its log.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The same numbers are in shim.py. */
enum op { OP_NOTE = 0, OP_WRITE, OP_TRUNCATE, OP_ALLOCATE, OP_SYNC, OP_OPEN, OP_LINK, OP_RENAME,
          OP_UNLINK };
enum { CLASS_WRITE = 1, CLASS_SYNC = 2, CLASS_NAME = 4, CLASS_REMOVE = 8 };
enum { FLAG_CREATED = 1, FLAG_TRUNCATED = 2, FLAG_FOLDER = 4 };

struct record {
    uint32_t magic, op, flags, path_bytes, other_bytes, data_bytes;
    int64_t inode, offset, result;
};
#define MAGIC 0x66617431u

static struct {
    char root[PATH_MAX];
    size_t root_bytes;
    int log, log_data;
    long calls, kill_at, fail_at, short_from;
    int fail_errno, fail_classes, fail_on;
} state = {.log = -1};
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real_call(#name))

static void *real_call(const char *name) { return dlsym(RTLD_NEXT, name); }

/* ---- driven from Python -------------------------------------------------------------------- */

void fault_arm(const char *root, const char *log, int log_data, long kill_at, long fail_at,
               int fail_errno, int fail_classes, int fail_on, long short_from)
{
    snprintf(state.root, sizeof state.root, "%s", root);
    state.root_bytes = strlen(state.root);
    state.log = log[0] ? REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    state.log_data = log_data;
    state.calls = 0;
    state.kill_at = kill_at;
    state.fail_at = fail_at;
    state.fail_errno = fail_errno;
    state.fail_classes = fail_classes;
    state.fail_on = fail_on;
    state.short_from = short_from;
}

long fault_calls(void) { return state.calls; }

static void log_call(enum op op, int flags, int64_t inode, const char *path, const char *other,
                     int64_t offset, const void *data, size_t bytes, int64_t result)
{
    if (state.log < 0 || (op != OP_NOTE && !state.log_data))
        return;
    struct record head = {MAGIC, op, (uint32_t)flags, (uint32_t)strlen(path),
                          (uint32_t)strlen(other), (uint32_t)bytes, inode, offset, result};
    struct iovec parts[] = {{&head, sizeof head},
                            {(void *)path, head.path_bytes},
                            {(void *)other, head.other_bytes},
                            {(void *)data, bytes}};
    syscall(SYS_writev, state.log, parts, 4);
}

/* What the process tells the world at this moment, among its calls. */
void fault_note(const void *data, size_t bytes)
{
    pthread_mutex_lock(&turn);
    log_call(OP_NOTE, 0, 0, "", "", 0, data, bytes, 0);
    pthread_mutex_unlock(&turn);
}

/* ---- which calls count ---------------------------------------------------------------------- */

static int watched(const char *path)
{
    return state.root_bytes && strncmp(path, state.root, state.root_bytes) == 0 &&
           (path[state.root_bytes] == '/' || path[state.root_bytes] == 0);
}

static int name_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, PATH_MAX - 1);
    path[bytes > 0 ? bytes : 0] = 0;
    return bytes > 0;
}

static int watched_fd(int fd, char *path) { return name_of(fd, path) && watched(path); }

static void absolute(int folder, const char *path, char *out)
{
    char base[PATH_MAX] = "";
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base))
                base[0] = 0;
        } else
            name_of(folder, base);
    }
    if (snprintf(out, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", path) >= PATH_MAX)
        out[0] = 0;
}

/* Takes the next number; dies or returns the error to give, 0 for none. The turn is held. */
static int fate(int class)
{
    long n = ++state.calls;
    if (n == state.kill_at) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    int due = state.fail_on ? n >= state.fail_at : n == state.fail_at;
    return state.fail_at && due && (class & state.fail_classes) ? state.fail_errno : 0;
}

static int64_t inode_of(int fd, int *flags)
{
    struct stat facts;
    if (fstat(fd, &facts))
        return 0;
    if (flags && S_ISDIR(facts.st_mode))
        *flags |= FLAG_FOLDER;
    return (int64_t)facts.st_ino;
}

static int64_t inode_at(const char *path)
{
    struct stat facts;
    return lstat(path, &facts) ? 0 : (int64_t)facts.st_ino;
}

/* ---- data ----------------------------------------------------------------------------------- */

#define AT_CURSOR ((off64_t)-1)

static ssize_t do_write(int fd, const void *data, size_t bytes, off64_t offset)
{
    char path[PATH_MAX];
    if (!watched_fd(fd, path))
        return offset == AT_CURSOR ? REAL(write)(fd, data, bytes)
                                   : REAL(pwrite64)(fd, data, bytes, offset);
    pthread_mutex_lock(&turn);
    ssize_t written = -1;
    int error = fate(CLASS_WRITE);
    off64_t at = offset;
    if (at == AT_CURSOR) {
        struct stat facts;
        at = (fcntl(fd, F_GETFL) & O_APPEND) && !fstat(fd, &facts) ? facts.st_size
                                                                   : lseek64(fd, 0, SEEK_CUR);
    }
    if (!error) {
        if (state.short_from && state.calls >= state.short_from && bytes > 1)
            bytes /= 2;
        written = offset == AT_CURSOR ? REAL(write)(fd, data, bytes)
                                      : REAL(pwrite64)(fd, data, bytes, offset);
        error = written < 0 ? errno : 0;
    }
    log_call(OP_WRITE, 0, inode_of(fd, 0), path, "", at, data, written > 0 ? written : 0,
             error ? -error : written);
    pthread_mutex_unlock(&turn);
    errno = error;
    return written;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    return do_write(fd, data, bytes, AT_CURSOR);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return do_write(fd, data, bytes, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset)
{
    return do_write(fd, data, bytes, offset);
}

/* Gathered writes become one write of the joined parts, so that they fail and tear like others. */
static ssize_t do_writev(int fd, const struct iovec *parts, int n, off64_t offset)
{
    size_t bytes = 0, at = 0;
    for (int i = 0; i < n; i++)
        bytes += parts[i].iov_len;
    char *joined = malloc(bytes ? bytes : 1);
    for (int i = 0; i < n; at += parts[i++].iov_len)
        memcpy(joined + at, parts[i].iov_base, parts[i].iov_len);
    ssize_t written = do_write(fd, joined, bytes, offset);
    int error = errno;
    free(joined);
    errno = error;
    return written;
}
ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return do_writev(fd, parts, n, AT_CURSOR);
}
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    return do_writev(fd, parts, n, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset)
{
    return do_writev(fd, parts, n, offset);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int n, off_t offset, int flags)
{
    (void)flags;
    return do_writev(fd, parts, n, offset);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int n, off64_t offset, int flags)
{
    (void)flags;
    return do_writev(fd, parts, n, offset);
}

/* Copies inside the kernel would pass us by: callers fall back to writes. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t bytes, unsigned flags)
{
    char path[PATH_MAX];
    if (watched_fd(out, path)) {
        errno = EINVAL;
        return -1;
    }
    return REAL(copy_file_range)(in, from, out, to, bytes, flags);
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t bytes)
{
    char path[PATH_MAX];
    if (watched_fd(out, path)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_sendfile, out, in, offset, bytes);
}
ssize_t sendfile(int out, int in, off_t *offset, size_t bytes)
{
    return sendfile64(out, in, (off64_t *)offset, bytes);
}

/* Runs CALL, which sets result and error, between the count and the log, if the file is ours. */
#define ON_FILE(fd, class, op, at, CALL)                                                          \
    char path[PATH_MAX];                                                                          \
    int ours = watched_fd(fd, path), error = 0, flags = 0, result = -1;                           \
    if (ours)                                                                                     \
        pthread_mutex_lock(&turn);                                                                \
    if (ours)                                                                                     \
        error = fate(class);                                                                      \
    if (!error) {                                                                                 \
        CALL;                                                                                     \
    }                                                                                             \
    if (ours) {                                                                                   \
        int64_t inode = inode_of(fd, &flags);                                                     \
        log_call(op, flags, inode, path, "", at, "", 0, error ? -error : result);                 \
        pthread_mutex_unlock(&turn);                                                              \
    }

#define FILE_CALL(fd, class, op, at, EXPRESSION)                                                  \
    ON_FILE(fd, class, op, at, (result = EXPRESSION, error = result < 0 ? errno : 0))             \
    errno = error;                                                                                \
    return error ? -1 : result

int ftruncate64(int fd, off64_t size)
{
    FILE_CALL(fd, CLASS_WRITE, OP_TRUNCATE, size, REAL(ftruncate64)(fd, size));
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    FILE_CALL(fd, CLASS_WRITE, OP_ALLOCATE, offset + bytes,
              REAL(fallocate64)(fd, mode, offset, bytes));
}
int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    return fallocate64(fd, mode, offset, bytes);
}

/* These return the error instead of setting it. */
int posix_fallocate64(int fd, off64_t offset, off64_t bytes)
{
    ON_FILE(fd, CLASS_WRITE, OP_ALLOCATE, offset + bytes,
            (error = REAL(posix_fallocate64)(fd, offset, bytes), result = 0))
    return error;
}
int posix_fallocate(int fd, off_t offset, off_t bytes)
{
    return posix_fallocate64(fd, offset, bytes);
}

int fsync(int fd) { FILE_CALL(fd, CLASS_SYNC, OP_SYNC, 0, REAL(fsync)(fd)); }
int fdatasync(int fd) { FILE_CALL(fd, CLASS_SYNC, OP_SYNC, 0, REAL(fdatasync)(fd)); }

/* ---- names ---------------------------------------------------------------------------------- */

static int do_open(int folder, const char *given, int flags, mode_t mode)
{
    int (*real)(int, const char *, int, ...) = REAL(openat64);
    char path[PATH_MAX];
    int creating = (flags & O_CREAT) || (flags & O_TRUNC);
    if (!creating || (flags & O_TMPFILE) == O_TMPFILE)
        return real(folder, given, flags, mode);
    absolute(folder, given, path);
    if (!watched(path))
        return real(folder, given, flags, mode);
    pthread_mutex_lock(&turn);
    int64_t before = inode_at(path), inode = 0;
    int seen = 0, fd = -1, error = fate(CLASS_NAME);
    if (!error) {
        fd = real(folder, given, flags, mode);
        error = fd < 0 ? errno : 0;
    }
    if (fd >= 0) {
        inode = inode_of(fd, 0);
        seen = (inode != before ? FLAG_CREATED : 0) | (flags & O_TRUNC ? FLAG_TRUNCATED : 0);
    }
    log_call(OP_OPEN, seen, inode, path, "", 0, "", 0, error ? -error : 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return fd;
}

#define MODE(flags, mode)                                                                         \
    mode_t mode = 0;                                                                              \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                      \
        va_list rest;                                                                             \
        va_start(rest, flags);                                                                    \
        mode = va_arg(rest, mode_t);                                                              \
        va_end(rest);                                                                             \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags, mode)
    return do_open(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    MODE(flags, mode)
    return do_open(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...)
{
    MODE(flags, mode)
    return do_open(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...)
{
    MODE(flags, mode)
    return do_open(folder, path, flags, mode);
}
int creat(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

#define NAME_CALL(class, op, from_folder, from, to_folder, to, inode_path, CALL)                         \
    char path[PATH_MAX], other[PATH_MAX];                                                         \
    absolute(from_folder, from, path);                                                            \
    absolute(to_folder, to, other);                                                               \
    if (!watched(path) && !watched(other))                                                        \
        return CALL;                                                                              \
    pthread_mutex_lock(&turn);                                                                    \
    int64_t inode = inode_at(inode_path);                                                         \
    int result = -1, error = fate(class);                                                         \
    if (!error) {                                                                                 \
        result = CALL;                                                                            \
        error = result < 0 ? errno : 0;                                                           \
    }                                                                                             \
    log_call(op, 0, inode, path, other, 0, "", 0, -error);                                        \
    pthread_mutex_unlock(&turn);                                                                  \
    errno = error;                                                                                \
    return result

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    NAME_CALL(CLASS_NAME, OP_LINK, from_folder, from, to_folder, to, path,
              REAL(linkat)(from_folder, from, to_folder, to, flags));
}
int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    NAME_CALL(CLASS_NAME, OP_RENAME, from_folder, from, to_folder, to, path,
              REAL(renameat)(from_folder, from, to_folder, to));
}
int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    NAME_CALL(CLASS_NAME, OP_RENAME, from_folder, from, to_folder, to, path,
              REAL(renameat2)(from_folder, from, to_folder, to, flags));
}
int unlinkat(int folder, const char *name, int flags)
{
    NAME_CALL(CLASS_REMOVE, OP_UNLINK, folder, name, folder, name, path,
              REAL(unlinkat)(folder, name, flags));
}
int unlink(const char *path_) { return unlinkat(AT_FDCWD, path_, 0); }
int remove(const char *path_) { return unlinkat(AT_FDCWD, path_, 0); }
