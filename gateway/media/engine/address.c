#include "address.h"

#include <arpa/inet.h>
#include <string.h>

void address_fill(union address *a, int family, const uint8_t *bytes, uint16_t port)
{
    memset(a, 0, sizeof *a);
    if (family == AF_INET) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(port);
        memcpy(&a->v4.sin_addr, bytes, sizeof a->v4.sin_addr);
    } else {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons(port);
        memcpy(&a->v6.sin6_addr, bytes, sizeof a->v6.sin6_addr);
    }
}

bool address_same_host(const union address *a, const union address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

/* The port is at the same place in both families. */
bool address_equal(const union address *a, const union address *b)
{
    return a->v4.sin_port == b->v4.sin_port && address_same_host(a, b);
}

uint16_t address_port(const union address *a)
{
    return ntohs(a->v4.sin_port);
}

void address_set_port(union address *a, uint16_t port)
{
    a->v4.sin_port = htons(port);
}

bool address_usable(const union address *a)
{
    if (!a->v4.sin_port)
        return false;
    if (a->any.sa_family == AF_INET) {
        uint32_t host = ntohl(a->v4.sin_addr.s_addr);

        return host >> 24 && !IN_MULTICAST(host) && host != INADDR_BROADCAST;
    }
    return !IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) && !IN6_IS_ADDR_MULTICAST(&a->v6.sin6_addr);
}
