#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"

/* What comes in at an IAX2 socket. Voice of calls that are known goes to them; that of others is dropped without a word
 * (RFC 5456 8.1.2 has no answer to it). Full frames go to signalling: at once those of hosts that it awaits some of, and of
 * all others so many in a frame of 20 ms. */

enum {
    ROUNDS = 16,          /* of IAX_BATCH datagrams each, at one tick */
    STRANGERS_FRAME = 20, /* strangers' full frames that signalling gets in 20 ms */
    META_TRUNK = 1, META_VIDEO = 0x80, TRUNK_HEADER = 8, TRUNK_PLAIN = 0, TRUNK_STAMPS = 1,
    CLEAR_MAX = 5,        /* frames in a row that came in clear: it is the far end that sends them, ... */
    CLEAR_APART_US = 10000, /* ... as one who does not know the call's number cannot send them at its pace */
    ODD_MS = 300,         /* a decrypted stamp so far off tells that the key was another */
    ODD_MAX = 3, ODD_STEP_MS = 200,
    ENTRIES_MAX = 512,    /* of a trunk frame */
    CALL_MASK = 0x7fff,
    STAMP_AND_NUMBERS = 6,       /* octets of a full frame's header between call numbers and kind */
    RTKEY = 6 << 8 | 0x27,       /* the kind of a frame: an IAX one, and which */
    CHALLENGE = 0x0f << 8 | IAX_KEY, /* the element that has the key, and its size */
    RTKEY_SIZE = IAX_FULL_HEADER + 2 + IAX_KEY,
    RTKEY_MAX = RTKEY_SIZE + IAX_CIPHER_ROOM,
    BACKLOG_STRANGERS = 64 << 10, /* octets that signalling has not read yet: more of strangers would drown it, ... */
    BACKLOG_MAX = 128 << 10,      /* ... more of anybody; full frames are sent again */
};

struct datagram {
    const uint8_t *data;
    size_t size;
    const union address *from;
    int64_t arrival;
};

static void reject(struct stream *s)
{
    s->rejected++;
}

static void refuse_stranger(const struct iax_socket *k)
{
    k->owner->rejected++;
    k->owner->rtp.strangers++;
}

/* -- voice of a call -- */

static bool narrow(unsigned codec)
{
    return codec == GM_CODEC_ULAW || codec == GM_CODEC_ALAW;
}

/* Samples that the payload lasts, 0: it is of no use. */
static unsigned duration_of(const struct stream *s, const uint8_t *payload, size_t size)
{
    const unsigned codec = s->iax.codec;

    if (size > CODED_PAYLOAD_MAX || (!narrow(codec) && !s->rtp.wide))
        return 0;
    return codec_duration(codec_find(codec), payload, size);
}

/* How voice came: GM_COPIED_..., or in a full frame, which signalling has seen. */
enum { COPIED_BEFORE = 255 };

/* A frame whose sender's clock said `stamp` ms. */
static void hear(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t stamp, bool loose,
                 unsigned way, int64_t arrival)
{
    const unsigned codec = s->iax.codec;
    uint8_t swapped[CODED_PAYLOAD_MAX];
    unsigned samples = duration_of(s, payload, size);
    unsigned milliseconds = samples / (SAMPLE_RATE / 1000);

    if (!milliseconds) {
        reject(s);
        return;
    }
    s->packets_received++;
    s->octets_received += size;
    bridge_heard(e, s);
    if (s->tapped && way != COPIED_BEFORE)
        tap_mini(e, s, true, way, arrival, stamp - s->iax.clock.own_offset, payload, size);
    stamp = iax_place(&s->iax, stamp, milliseconds, loose, arrival);
    iax_account(s, stamp, milliseconds);
    if (!(s->rtp.direction & GM_RECVONLY))
        return;
    stamp *= SAMPLE_RATE / 1000;
    rtp_source_time(&s->rtp.source, stamp, arrival);
    if (codec == GM_CODEC_L16) {
        codec_swap(swapped, payload, size);
        payload = swapped;
    }
    if (s->rtp.wide && s->rtp.wide->relay.on && rtp_relays(s, bridge_partner(s))) /* the hearer may have changed since */
        iax_relay_take(e, s, bridge_partner(s), payload, size,
                       &(struct relay_packet){.stamp = stamp, .samples = samples, .codec = (uint8_t)codec, .arrival = arrival});
    else if (s->rtp.wide)
        jitter_put_coded(&s->jitter, stamp, (uint8_t)codec, payload, size, samples, arrival);
    else
        jitter_put(&s->jitter, stamp, payload, size, codec == GM_CODEC_ALAW ? ALAW : ULAW, arrival);
}

int iax_voice(struct engine *e, struct stream *s, struct cursor *c)
{
    uint32_t stamp = cursor_le32(c);
    const struct codec *codec = codec_find(cursor_u8(c));
    size_t size;
    const uint8_t *payload;

    cursor_take(c, 3);
    size = cursor_left(c);
    payload = cursor_take(c, size);
    if (c->bad)
        return EBADMSG;
    if (!codec || !s->rtp.set || (!narrow(codec->id) && !s->rtp.wide))
        return EINVAL;
    s->iax.codec = codec->id;
    s->iax.size = 0;
    s->iax.clear = 0;
    hear(e, s, payload, size, stamp + s->iax.clock.own_offset, false, COPIED_BEFORE, e->now);
    return 0;
}

/* Voice in clear where it must be encrypted. A single frame may be anybody's, and a trunk frame may have one of every call
 * number several times; the far end sends nothing else. */
static void refuse_clear(struct engine *e, struct stream *s)
{
    struct iax_part *x = &s->iax;

    reject(s);
    if (x->told_clear || (x->clear && e->now - x->clear_at < CLEAR_APART_US))
        return;
    x->clear_at = e->now;
    if (++x->clear < CLEAR_MAX)
        return;
    x->told_clear = true;
    log_line("stream %u (%s): voice comes in clear, it must be encrypted", s->id, s->label);
    control_event(e, GM_EVENT_IAX_CLEAR, s->id);
}

/* -- mini frames -- */

/* CBC authenticates nothing: that it was the right key is seen by the time that the stamp tells and by the size of what is
 * left, of which a wrong one gets both right once in two thousand times. */
static bool makes_sense(struct iax_part *x, const struct datagram *d, uint32_t stamp, size_t size)
{
    int32_t off = (int32_t)(stamp - x->clock.next) - (int32_t)((d->arrival - x->clock.at) / 1000);

    if (!x->clock.known || (off < ODD_MS && off > -ODD_MS && (!x->size || size == x->size || x->codec == GM_CODEC_OPUS))) {
        x->odd = 0;
        return true;
    }
    /* A sender whose clock jumps goes on from there; what another key makes of a frame does not. */
    off = (int32_t)(stamp - x->odd_stamp);
    x->odd = x->odd && off > 0 && off <= ODD_STEP_MS ? (uint8_t)(x->odd + 1) : 1;
    x->odd_stamp = stamp;
    return x->odd > ODD_MAX;
}

static bool decipher(struct iax_part *x, struct iax_cipher *cipher, const struct datagram *d, uint8_t *to, size_t *size)
{
    struct cursor c = cursor_over(to + IAX_CLEAR, IAX_MINI_HEADER - IAX_CLEAR);

    *size = cipher->chain ? iax_decrypt(cipher, to, d->data, d->size) : 0;
    return *size > IAX_MINI_HEADER && makes_sense(x, d, iax_unwrap(x, cursor_be16(&c), d->arrival), *size);
}

/* Has it the size of an encrypted one? One of 20 ms of G.711 in clear has not. */
static bool encrypted_size(size_t size)
{
    return size >= IAX_CLEAR + 2 * IAX_BLOCK && (size - IAX_CLEAR) % IAX_BLOCK == 0;
}

static void take_secret(struct engine *e, struct stream *s, const struct datagram *d)
{
    struct iax_part *x = &s->iax;
    uint8_t frame[IAX_MINI_MAX];
    struct cursor c;
    size_t size;

    if (d->size > sizeof frame) {
        reject(s);
        return;
    }
    if (!decipher(x, &x->receive, d, frame, &size) &&
        !(e->now < x->former_until && decipher(x, &x->former, d, frame, &size))) {
        reject(s);
        s->rtp.secure.unauthenticated++;
        return;
    }
    x->clear = 0;
    x->size = (uint16_t)size;
    c = cursor_over(frame, size);
    cursor_take(&c, IAX_CLEAR);
    hear(e, s, frame + IAX_MINI_HEADER, size - IAX_MINI_HEADER, iax_unwrap(x, cursor_be16(&c), d->arrival), false,
         GM_COPIED_ENCRYPTED, d->arrival);
}

static void take_mini(struct engine *e, struct iax_socket *k, const struct datagram *d)
{
    struct cursor c = cursor_over(d->data, d->size);
    struct stream *s = iax_find(e, k, d->from, cursor_be16(&c));
    unsigned stamp = cursor_be16(&c);

    if (!s) {
        refuse_stranger(k);
    } else if (s->iax.receive.chain && encrypted_size(d->size)) {
        take_secret(e, s, d);
    } else if (s->iax.encrypted) {
        refuse_clear(e, s);
    } else {
        hear(e, s, d->data + IAX_MINI_HEADER, d->size - IAX_MINI_HEADER, iax_unwrap(&s->iax, stamp, d->arrival), false,
             GM_COPIED_MINI, d->arrival);
    }
}

/* -- trunk frames -- */

/* An entry of a trunk frame: the call it is of, and its own time stamp if it has one. */
struct entry {
    unsigned call, stamp;
    bool stamped;
    const uint8_t *payload;
    size_t size;
};

static bool take_entry(struct cursor *c, bool stamps, struct entry *n)
{
    if (stamps) {
        n->size = cursor_be16(c);
        n->call = cursor_be16(c);
        n->stamp = cursor_be16(c);
    } else {
        n->call = cursor_be16(c);
        n->size = cursor_be16(c);
    }
    n->stamped = stamps;
    n->payload = cursor_take(c, n->size);
    return !c->bad;
}

static void hear_entry(struct engine *e, struct iax_socket *k, const struct datagram *d, const struct entry *n, uint32_t time)
{
    struct stream *s = iax_find(e, k, d->from, n->call);
    uint32_t stamp;

    if (!s) {
        refuse_stranger(k);
        return;
    }
    if (!n->size)
        return; /* no voice, clear or not: whoever counts on refusals has to send some */
    if (s->iax.encrypted) {
        refuse_clear(e, s);
        return;
    }
    stamp = n->stamped ? iax_unwrap(&s->iax, n->stamp, d->arrival) : iax_trunk_time(&s->iax, time, d->arrival);
    hear(e, s, n->payload, n->size, stamp, !n->stamped, GM_COPIED_TRUNKED, d->arrival);
}

static void take_meta(struct engine *e, struct iax_socket *k, const struct datagram *d)
{
    struct cursor c = cursor_over(d->data, d->size);
    struct entry n = {0};
    unsigned command, format;
    uint32_t time;

    cursor_take(&c, 2);
    command = cursor_u8(&c);
    format = cursor_u8(&c);
    time = cursor_be32(&c);
    if (c.bad || command != META_TRUNK || format > TRUNK_STAMPS) { /* video among them */
        reject(k->owner);
        return;
    }
    if (!iax_has_calls(e, d->from)) { /* not worth a look at each entry */
        refuse_stranger(k);
        return;
    }
    for (unsigned i = 0; cursor_left(&c); i++) {
        if (i == ENTRIES_MAX || !take_entry(&c, format == TRUNK_STAMPS, &n)) {
            reject(k->owner);
            return;
        }
        hear_entry(e, k, d, &n, time);
    }
}

/* -- full frames -- */

static void hand_over(struct engine *e, const struct iax_socket *k, const union address *from, const uint8_t *data, size_t size)
{
    struct writer w = control_begin(e, GM_EVENT_IAX_FRAME, 0, k->owner->id);

    iax_address_put(&w, from);
    put_bytes(&w, data, size);
    control_commit(e, &w);
}

static void ring_write(struct iax_socket *k, const void *data, size_t size)
{
    size_t at = (k->first + k->used) % IAX_STRANGERS;
    size_t part = size < IAX_STRANGERS - at ? size : IAX_STRANGERS - at;

    memcpy(k->strangers + at, data, part);
    memcpy(k->strangers, (const uint8_t *)data + part, size - part);
    k->used += size;
}

static void ring_read(struct iax_socket *k, void *data, size_t size)
{
    size_t part = size < IAX_STRANGERS - k->first ? size : IAX_STRANGERS - k->first;

    memcpy(data, k->strangers + k->first, part);
    memcpy((uint8_t *)data + part, k->strangers, size - part);
    k->first = (k->first + size) % IAX_STRANGERS;
    k->used -= size;
}

/* RTKEY says what the far end encrypts with from now on. While nobody sees to its call that is heeded here, for the voice;
 * whoever takes the call up is told by the far end again, as nobody acknowledges it. */
static void heed_key(struct engine *e, const struct iax_socket *k, const struct datagram *d)
{
    struct cursor c = cursor_over(d->data, d->size);
    struct stream *s = iax_find(e, k, d->from, cursor_be16(&c) & CALL_MASK);
    uint8_t frame[RTKEY_MAX];
    const size_t size = cursor_left(&c);
    const uint8_t *key;

    if (!s || s->adopted || !s->iax.receive.chain || size > sizeof frame)
        return;
    /* Of a full frame both call numbers are clear: it is a mini frame from the second one on. */
    if (iax_decrypt(&s->iax.receive, frame, cursor_take(&c, size), size) == RTKEY_SIZE - IAX_CLEAR) {
        c = cursor_over(frame, RTKEY_SIZE - IAX_CLEAR);
        if ((cursor_be16(&c) & CALL_MASK) == s->iax.source && cursor_take(&c, STAMP_AND_NUMBERS) &&
            cursor_be16(&c) == RTKEY && cursor_be16(&c) == CHALLENGE) {
            key = cursor_take(&c, IAX_KEY);
            (void)iax_stream_key(e, s, key, IAX_KEY);
        }
    }
    explicit_bzero(frame, sizeof frame);
}

static void take_full(struct engine *e, struct iax_socket *k, const struct datagram *d)
{
    struct iax_waiting head = {.from = *d->from, .size = (uint16_t)d->size};

    if (e->control.graceful)
        heed_key(e, k, d);
    if (d->size < IAX_FULL_HEADER || d->size > GM_IAX_FRAME_MAX) {
        reject(k->owner);
    } else if (iax_knows(e, d->from)) {
        if (control_backlog(e) > BACKLOG_MAX)
            reject(k->owner);
        else
            hand_over(e, k, d->from, d->data, d->size);
    } else if (sizeof head + d->size > IAX_STRANGERS - k->used) {
        refuse_stranger(k);
    } else {
        ring_write(k, &head, sizeof head);
        ring_write(k, d->data, d->size);
    }
}

static void serve_strangers(struct engine *e, struct iax_socket *k)
{
    const int64_t frame = e->now / FRAME_US;
    uint8_t data[GM_IAX_FRAME_MAX];
    struct iax_waiting head;

    if (frame != k->served) {
        k->served = frame;
        k->share = k->used && control_backlog(e) > BACKLOG_STRANGERS ? 0 : STRANGERS_FRAME;
    }
    for (; k->used && k->share; k->share--) {
        ring_read(k, &head, sizeof head);
        ring_read(k, data, head.size);
        hand_over(e, k, &head.from, data, head.size);
    }
}

static void take(struct engine *e, struct iax_socket *k, const struct datagram *d)
{
    struct cursor c = cursor_over(d->data, d->size);
    unsigned first = cursor_be16(&c);

    k->owner->packets_received++;
    k->owner->octets_received += d->size;
    if (d->size < IAX_MINI_HEADER)
        reject(k->owner);
    else if (first & IAX_FULL)
        take_full(e, k, d);
    else if (!first)
        take_meta(e, k, d);
    else
        take_mini(e, k, d);
}

/* Ready to take a datagram (again). */
static void prepare(struct iax_intake *n, unsigned i)
{
    n->messages[i].msg_hdr = (struct msghdr){.msg_name = &n->from[i],
                                             .msg_namelen = sizeof n->from[i],
                                             .msg_iov = &n->parts[i],
                                             .msg_iovlen = 1,
                                             .msg_control = &n->control[i],
                                             .msg_controllen = sizeof n->control[i]};
}

void iax_intake_open(struct iax_intake *n)
{
    for (unsigned i = 0; i < IAX_BATCH; i++) {
        n->parts[i] = (struct iovec){.iov_base = n->data[i], .iov_len = sizeof n->data[i]};
        prepare(n, i);
    }
}

static void take_batch(struct engine *e, struct iax_socket *k, struct iax_intake *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct msghdr *m = &n->messages[i].msg_hdr;
        const struct datagram d = {.data = n->data[i],
                                   .size = m->msg_flags & MSG_TRUNC ? 0 : n->messages[i].msg_len,
                                   .from = &n->from[i],
                                   .arrival = e->arrival(e, m)};

        take(e, k, &d);
        prepare(n, i);
    }
}

void iax_receive(struct engine *e, struct iax_socket *k, int fd)
{
    int got = IAX_BATCH;
    int rounds = 0;

    for (; rounds < ROUNDS && got == IAX_BATCH; rounds++) {
        got = recvmmsg(fd, e->iax.intake->messages, IAX_BATCH, MSG_DONTWAIT, NULL);
        if (got > 0)
            take_batch(e, k, e->iax.intake, (unsigned)got);
    }
    if (fd == k->full || k->full < 0) {
        serve_strangers(e, k);
        k->flooded = k->used || rounds > 1;
    }
}
