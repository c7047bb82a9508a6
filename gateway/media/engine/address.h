/* An IP address with a port, of either family. */
#ifndef GM_ADDRESS_H
#define GM_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* `bytes`: 4 or 16 octets, as `family` has. */
void address_fill(union address *a, int family, const uint8_t *bytes, uint16_t port);
bool address_equal(const union address *a, const union address *b);
bool address_same_host(const union address *a, const union address *b);
/* In host order; 0: there is none. */
uint16_t address_port(const union address *a);
void address_set_port(union address *a, uint16_t port);
/* Can one machine be reached there? Not so "none" (RFC 2543's way of hold), broadcast and multicast. */
bool address_usable(const union address *a);

#endif
