/* Stands between restage and the disk: at one of the writes of one of its processes it ends that process, or tells it
   that there is no room. RESTAGE_TEST_WRITES says which: "FOLDER ROLE FAULT AT".
   ROLE   supervisor or keeper; what stages start is left alone.
   FAULT  kill: that process ends as by kill -9. both: the keeper ends with its supervisor. once: this call finds no room.
          full: this call and all that want room after it find none, in both roles, until FOLDER/room is there.
   AT     the number of the call, from 1. Counted is what changes something below FOLDER, and where there is to be no room,
          what wants some.
   The file FOLDER/hit is made at that moment, and nothing is done a second time where it is. It holds one line for each
   call that was ended or refused. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LONGEST = 4096 };

static char folder[LONGEST / 2];
static char fault[16];
static long at;
static atomic_long calls;
/* It is the process that is counted, and one of ours at all. */
static int counted, ours;

static int file_of(char *path, const char *name)
{
    return snprintf(path, LONGEST, "%s/%s", folder, name);
}

static int is_there(const char *name)
{
    char path[LONGEST];
    file_of(path, name);
    return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *asked = getenv("RESTAGE_TEST_WRITES");
    char role[16], line[256] = "";
    if (!asked || sscanf(asked, "%2047s %15s %15s %ld", folder, role, fault, &at) != 4)
        return;
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t length = read(file, line, sizeof line - 1);
    close(file);
    const char *first = length > 0 ? line + strlen(line) + 1 : line;
    int supervisor = strcmp(first, "__supervise") == 0, keeper = strcmp(first, "__guard") == 0;
    ours = supervisor || keeper;
    counted = strcmp(role, "keeper") == 0 ? keeper : supervisor;
}

/* True where this process has made the file. */
static int note(const char *what, const char *path, int flags)
{
    char name[LONGEST], line[LONGEST + 128];
    file_of(name, "hit");
    int file = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0600);
    if (file < 0)
        return 0;
    int length = snprintf(line, sizeof line, "%s %s\n", what, path);
    syscall(SYS_write, file, line, length);
    syscall(SYS_close, file);
    return 1;
}

static void kill_the_keeper(void)
{
    char path[LONGEST], text[LONGEST] = "";
    file_of(path, ".restage/keeper.lock");
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    const char *pid = strstr(text, "\"pid\":");
    if (pid && atoi(pid + 6) > 1)
        kill(atoi(pid + 6), SIGKILL);
}

/* Whether the call is to find no room. */
static int refused(const char *what, int directory, const char *name, int wants_room)
{
    char path[LONGEST] = "", link[64];
    if (!ours)
        return 0;
    int kept = errno;
    if (!name || name[0] != '/') {
        snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, path, LONGEST / 2);
        if (length < 0)
            length = 0;
        snprintf(path + length, LONGEST - length, "%s%s", name ? "/" : "", name ? name : "");
    } else {
        snprintf(path, LONGEST, "%s", name);
    }
    errno = kept;
    int full = strcmp(fault, "full") == 0, once = strcmp(fault, "once") == 0;
    if (strncmp(path, folder, strlen(folder)) != 0 || ((full || once) && !wants_room))
        return 0;
    long call = counted ? atomic_fetch_add(&calls, 1) + 1 : 0;
    if (full)
        return (call >= at || is_there("hit")) && !is_there("room") && note(what, path, 0);
    if (call != at || !note(what, path, O_EXCL))
        return 0;
    if (once)
        return 1;
    if (strcmp(fault, "both") == 0)
        kill_the_keeper();
    kill(getpid(), SIGKILL);
    return 0;
}

static off_t size_of(int file)
{
    struct stat seen;
    return fstat(file, &seen) == 0 ? seen.st_size : 0;
}

static int is_file(int file)
{
    struct stat seen;
    return fstat(file, &seen) == 0 && S_ISREG(seen.st_mode);
}

#define NO_ROOM_FOR(what, directory, name) \
    if (refused(what, directory, name, 1)) \
        return errno = ENOSPC, -1

ssize_t write(int file, const void *bytes, size_t length)
{
    if (ours && is_file(file))
        NO_ROOM_FOR("write", file, NULL);
    return syscall(SYS_write, file, bytes, length);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    if (ours && is_file(file))
        NO_ROOM_FOR("writev", file, NULL);
    return syscall(SYS_writev, file, parts, count);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t place)
{
    /* What the file has already is written over in its place. */
    if (refused("pwrite", file, NULL, place + (off_t)length > size_of(file)))
        return errno = ENOSPC, -1;
    return syscall(SYS_pwrite64, file, bytes, length, place);
}

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));

ssize_t copy_file_range(int from, off_t *here, int to, off_t *there, size_t length, unsigned flags)
{
    NO_ROOM_FOR("copy_file_range", to, NULL);
    return syscall(SYS_copy_file_range, from, here, to, there, length, flags);
}

ssize_t sendfile64(int to, int from, off_t *place, size_t length)
{
    if (ours && is_file(to))
        NO_ROOM_FOR("sendfile", to, NULL);
    return syscall(SYS_sendfile, to, from, place, length);
}

int fallocate(int file, int mode, off_t place, off_t length)
{
    NO_ROOM_FOR("fallocate", file, NULL);
    return syscall(SYS_fallocate, file, mode, place, length);
}

int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));

int posix_fallocate(int file, off_t place, off_t length)
{
    return fallocate(file, 0, place, length) == 0 ? 0 : errno;
}

int posix_fallocate64(int, off_t, off_t) __attribute__((alias("posix_fallocate")));

/* What was written into a file may find its place only now. */
int fsync(int file)
{
    NO_ROOM_FOR("fsync", file, NULL);
    return syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    NO_ROOM_FOR("fdatasync", file, NULL);
    return syscall(SYS_fdatasync, file);
}

int ftruncate(int file, off_t length)
{
    if (refused("ftruncate", file, NULL, length > size_of(file)))
        return errno = ENOSPC, -1;
    return syscall(SYS_ftruncate, file, length);
}

int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    NO_ROOM_FOR("rename", to, new);
    return syscall(SYS_renameat2, from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return renameat2(from, old, to, new, 0);
}

int rename(const char *old, const char *new)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    NO_ROOM_FOR("link", to, new);
    return syscall(SYS_linkat, from, old, to, new, flags);
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int symlinkat(const char *target, int directory, const char *name)
{
    NO_ROOM_FOR("symlink", directory, name);
    return syscall(SYS_symlinkat, target, directory, name);
}

int symlink(const char *target, const char *name)
{
    return symlinkat(target, AT_FDCWD, name);
}

int mkdirat(int directory, const char *name, mode_t mode)
{
    if (ours && syscall(SYS_faccessat, directory, name, F_OK) != 0)
        NO_ROOM_FOR("mkdir", directory, name);
    return syscall(SYS_mkdirat, directory, name, mode);
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

int unlinkat(int directory, const char *name, int flags)
{
    refused("unlink", directory, name, 0);
    return syscall(SYS_unlinkat, directory, name, flags);
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int openat(int directory, const char *name, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, int);
    va_end(rest);
    int is_new = (flags & O_CREAT) && ours && syscall(SYS_faccessat, directory, name, F_OK) != 0;
    if (is_new || (flags & O_TMPFILE) == O_TMPFILE) {
        NO_ROOM_FOR("create", directory, name);
    } else if (flags & O_TRUNC) {
        refused("truncate", directory, name, 0);
    }
    return syscall(SYS_openat, directory, name, flags, mode);
}

int open(const char *name, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, int);
    va_end(rest);
    return openat(AT_FDCWD, name, flags, mode);
}

int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
int open64(const char *, int, ...) __attribute__((alias("open")));
