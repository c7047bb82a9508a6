/* The system calls of every packet without what libc puts around them, as it does in all programs with a second thread: they
 * may be cancelled there, which two locked instructions before and after each of them prepare for. Nobody cancels anything
 * here. Under ASAN, which checks their arguments in libc's, and where libc translates (32 bits) they are libc's. */
#ifndef GM_SOCKET_CALL_H
#define GM_SOCKET_CALL_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __WORDSIZE == 64 && defined SYS_recvmsg && defined SYS_recvfrom && defined SYS_sendto && !defined __SANITIZE_ADDRESS__
#define BARE_CALLS 1
#else
#define BARE_CALLS 0
#endif

static inline ssize_t call_recvmsg(int fd, struct msghdr *m, int flags)
{
#if BARE_CALLS
    return syscall(SYS_recvmsg, fd, m, flags);
#else
    return recvmsg(fd, m, flags);
#endif
}

/* From whoever it is connected to. */
static inline ssize_t call_recv(int fd, void *data, size_t size, int flags)
{
#if BARE_CALLS
    return syscall(SYS_recvfrom, fd, data, size, flags, NULL, NULL);
#else
    return recv(fd, data, size, flags);
#endif
}

/* `size` 0: where the socket is connected to. */
static inline ssize_t call_sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size)
{
#if BARE_CALLS
    return syscall(SYS_sendto, fd, data, length, flags, to, size);
#else
    return sendto(fd, data, length, flags, to, size);
#endif
}

#endif
