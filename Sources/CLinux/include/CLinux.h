// The few Linux system calls and structures that Glibc's Swift module does not export.
#ifndef QWARDEN_CLINUX_H
#define QWARDEN_CLINUX_H

#include <spawn.h>
#include <stdint.h>
#include <sys/types.h>

/// getdents64(2): fills `buffer` with linux_dirent64 records; returns bytes filled, 0 at the end, -1 with errno.
ssize_t clinux_getdents64(int fd, void *buffer, size_t size);

/// syncfs(2): writes everything dirty of the filesystem that holds `fd`; 0, or -1 with errno.
int clinux_syncfs(int fd);

/// posix_spawn_file_actions_addclosefrom_np(3): the child closes every descriptor from `first` on; 0 or an errno value.
int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

/// Offsets inside a linux_dirent64 record (see getdents64(2)): d_ino 0, d_reclen 16, d_type 18, d_name 19.
enum { CLINUX_DIRENT_RECLEN = 16, CLINUX_DIRENT_TYPE = 18, CLINUX_DIRENT_NAME = 19 };

/// eventfd(2) at 0, not blocking, closed at exec; -1 with errno.
int clinux_eventfd(void);

/// unshare(2): this thread's descriptors are its own from now on, as a fork's are; 0, or -1 with errno.
int clinux_unshare_descriptors(void);

/// `O_NOATIME` of open(2): reading does not change when the file was last read. EPERM for who neither owns the file nor is root.
extern const int clinux_no_access_time;

/// close_range(2): closes every descriptor from `first` to `last`, if there are any; 0, or -1 with errno.
int clinux_close_range(int first, int last);

/// renameat2(2), RENAME_EXCHANGE: two names of one directory change places at once; 0, or -1 with errno (EINVAL where the filesystem cannot).
int clinux_exchange(int directory, const char *one, const char *other);

/// renameat2(2), RENAME_NOREPLACE: a name of this directory that is taken stays; 0, or -1 with errno (EEXIST; EINVAL as above).
int clinux_rename_new(int directory, const char *old, const char *new);

/// fcntl(2), F_SETLEASE: a read lease on a file open for reading, told of by SIGURG, which is ignored where nobody asks for it; -1 with
/// errno, EAGAIN when it is open for writing.
int clinux_read_lease(int fd);

/// mallopt(3): malloc divides its memory in two parts at most, however many threads there are.
void clinux_few_arenas(void);

/// malloc_trim(3): gives freed memory back to the kernel.
void clinux_trim(void);

#endif
