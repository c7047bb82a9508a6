#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"

/* A call's voice: whose it is, by socket, source address and call number (RFC 5456 8.1.2), and how it is sent. */

enum { CALL_MAX = 0x7fff, FORMER_US = 5000000 /* a former key is good for what is on its way */ };

static unsigned bucket(const struct engine *e, const struct iax_socket *k, const union address *from, unsigned far)
{
    uint32_t words[4];
    uint32_t h = (uint32_t)far << 16 | from->v4.sin_port;

    h ^= (uint32_t)(k - e->iax.sockets) << 28;
    if (from->any.sa_family == AF_INET) {
        h = (h ^ from->v4.sin_addr.s_addr) * UINT32_C(2654435761);
    } else {
        memcpy(words, &from->v6.sin6_addr, sizeof words);
        for (unsigned i = 0; i < 4; i++)
            h = (h ^ words[i]) * UINT32_C(2654435761) + (h >> 15);
    }
    return (unsigned)((h ^ h >> 15) * UINT32_C(2246822519) >> 7) & e->iax.bucket_mask;
}

struct stream *iax_find(const struct engine *e, const struct iax_socket *k, const union address *from, unsigned far)
{
    struct stream *s = e->iax.buckets[bucket(e, k, from, far)];

    while (s && !(s->iax.far == far && s->iax.socket == k && address_equal(&s->rtp.remote, from)))
        s = s->iax.chain;
    return s;
}

static void enlist(struct engine *e, struct stream *s)
{
    struct stream **at = &e->iax.buckets[bucket(e, s->iax.socket, &s->rtp.remote, s->iax.far)];

    s->iax.chain = *at;
    *at = s;
    s->iax.listed = true;
    s->iax.counted_host = iax_know(e, &s->rtp.remote, 1);
}

static void delist(struct engine *e, struct stream *s)
{
    struct stream **at;

    if (!s->iax.listed)
        return;
    at = &e->iax.buckets[bucket(e, s->iax.socket, &s->rtp.remote, s->iax.far)];
    while (*at != s)
        at = &(*at)->iax.chain;
    *at = s->iax.chain;
    s->iax.listed = false;
    if (s->iax.counted_host)
        (void)iax_know(e, &s->rtp.remote, -1);
}

int iax_stream_open(struct engine *e, struct stream *s, struct stream *socket)
{
    struct rtp_part *r = &s->rtp;

    s->iax.socket = socket->iax.socket;
    r->family = s->iax.socket->family;
    r->dtmf_payload_type = r->receive_dtmf_payload_type = GM_NO_PAYLOAD_TYPE;
    r->packet_samples = SAMPLES;
    r->clock = 1;
    r->digits_told = true;
    rtp_source_reset(&r->source);
    iax_socket_calls(e, s->iax.socket, 1);
    bridge_join(e, s);
    return 0;
}

void iax_stream_detach(struct engine *e, struct stream *s)
{
    if (!s->iax.socket)
        return;
    delist(e, s);
    iax_trunk_leave(e, s);
    s->rtp.aimed = false;
    iax_socket_calls(e, s->iax.socket, -1);
    s->iax.socket = NULL;
}

void iax_stream_close(struct engine *e, struct stream *s)
{
    iax_stream_detach(e, s);
    voice_codec_end(e, s);
    iax_cipher_close(&s->iax.send);
    iax_cipher_close(&s->iax.receive);
    iax_cipher_close(&s->iax.former);
}

struct keys {
    size_t send_size, receive_size;
    uint8_t send[IAX_KEY], receive[IAX_KEY];
};

int iax_stream_key(struct engine *e, struct stream *s, const uint8_t *key, size_t size)
{
    struct iax_part *x = &s->iax;
    struct iax_cipher fresh = {0};
    int err;

    if (iax_cipher_is(&x->receive, key, size))
        return 0;
    err = iax_cipher_set(&fresh, key, size, false);
    if (err)
        return err;
    iax_cipher_close(&x->former);
    x->former = x->receive;
    x->former_until = e->now + FORMER_US;
    x->receive = fresh;
    return 0;
}

static int set_keys(struct engine *e, struct stream *s, const struct keys *k)
{
    struct iax_cipher *send = &s->iax.send;
    int err = iax_cipher_is(send, k->send, k->send_size) ? 0 : iax_cipher_set(send, k->send, k->send_size, true);

    return err ? err : iax_stream_key(e, s, k->receive, k->receive_size);
}

/* Another far end (a transfer) has to be told the codec, and counts from another moment; another port is its NAT's. */
static void aim(struct engine *e, struct stream *s, const union address *to, uint16_t far)
{
    if (s->iax.listed && s->iax.far == far && address_equal(&s->rtp.remote, to))
        return;
    if (s->iax.far != far || !address_same_host(&s->rtp.remote, to)) {
        s->iax.said = s->iax.counted = false;
        s->iax.clock = (struct iax_clock){0};
    }
    delist(e, s);
    s->rtp.remote = *to;
    s->rtp.address_size = to->any.sa_family == AF_INET ? sizeof to->v4 : sizeof to->v6;
    s->iax.far = far;
    enlist(e, s);
}

static int take_settings(struct engine *e, struct stream *s, struct cursor *c, struct keys *keys)
{
    struct rtp_part *r = &s->rtp;
    struct iax_part *x = &s->iax;
    int family = cursor_u8(c) == 6 ? AF_INET6 : AF_INET;
    const struct codec *codec = codec_find(cursor_u8(c));
    unsigned direction = cursor_u8(c);
    unsigned flags = cursor_u8(c);
    const uint8_t *address = cursor_take(c, 16);
    uint16_t port = cursor_le16(c);
    uint16_t source = cursor_le16(c);
    uint16_t far = cursor_le16(c);
    size_t most = cursor_le16(c);
    uint64_t epoch = cursor_le32(c);
    union address to;
    struct wide *wide;
    int err;

    epoch |= (uint64_t)cursor_le32(c) << 32;
    keys->send_size = cursor_u8(c);
    keys->receive_size = cursor_u8(c);
    cursor_take(c, 2);
    cursor_copy(c, keys->send, IAX_KEY);
    cursor_copy(c, keys->receive, IAX_KEY);
    if (c->bad)
        return EBADMSG;
    if (!x->socket)
        return ENOTCONN;
    err = iax_socket_address(x->socket, &to, family, address, port);
    if (!err && (!codec || direction > GM_SENDRECV || !source || source > CALL_MAX || !far || far > CALL_MAX || !port))
        err = EINVAL;
    if (!err)
        err = voice_codec_prepare(e, s, codec, &wide);
    if (err)
        return err;
    err = set_keys(e, s, keys);
    if (err) {
        if (wide)
            wide_free(&e->wides, wide);
        return err;
    }
    if (voice_codec_set(e, s, codec, wide))
        x->codec = codec->id;
    if (!r->set || (direction & GM_RECVONLY && !(r->direction & GM_RECVONLY)))
        s->expected_from = e->now;
    aim(e, s, &to, far);
    x->source = source;
    if (!r->set || x->epoch != (int64_t)epoch)
        x->begun = x->said = false;
    x->epoch = (int64_t)epoch;
    x->encrypted = flags & GM_IAX_ENCRYPTED;
    x->told_clear = false;
    x->clear = 0;
    r->payload_type = codec->id;
    r->direction = (uint8_t)direction;
    r->aimed = address_usable(&to);
    r->gathered = 0;
    r->set = true;
    s->in_fault = false;
    if (flags & GM_IAX_TRUNK && !x->send.chain && r->aimed)
        return iax_trunk_join(e, s, flags & GM_IAX_TRUNK_STAMPS, most);
    iax_trunk_leave(e, s);
    return 0;
}

int iax_stream_set(struct engine *e, struct stream *s, struct cursor *c)
{
    struct keys keys = {0};
    int err = take_settings(e, s, c, &keys);

    explicit_bzero(&keys, sizeof keys);
    return err;
}
