#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

/* One port as two sockets: the kernel gives full frames to one of them and voice to the other. So a full frame wakes the
 * engine and voice does not, and whatever comes in full frames takes none of voice's room in the kernel. */

/* 0 for voice and 1 for full frames, the order in which the sockets were bound: the F bit, RFC 5456 8.1.1. */
static const struct sock_filter which[] = {
    {.code = BPF_LD | BPF_B | BPF_ABS, .k = 0},
    {.code = BPF_ALU | BPF_RSH | BPF_K, .k = 7},
    {.code = BPF_RET | BPF_A},
};

/* Nobody but who shares it from the start may have the port: `fd` was bound to it alone. */
int iax_split(int fd, int family, const uint8_t *address, uint16_t port, bool both, int *full)
{
    const int on = 1, off = 0;
    struct sock_fprog program = {.len = sizeof which / sizeof which[0], .filter = (struct sock_filter *)which};
    int err = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) ? errno : 0;

    if (err)
        return err;
    err = rtp_bind(family, address, port, (both ? BIND_BOTH : 0U) | BIND_SHARED, full);
    if (!err && setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program)) {
        err = errno;
        close(*full);
    }
    if (err)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof off);
    return err;
}
