#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"

/* Voice on its way out: as a full frame by way of signalling, where the far end could not tell its codec or its time
 * otherwise (RFC 5456 8.1.2), else in a trunk frame or a mini frame. */

enum {
    SKEW_MS = 160,      /* time stamps follow the line's clock so far away from ours */
    AGAIN_US = 10000000, /* a program that begins has its hands full, and the frame that it sends for us would be late; in as
                          * long it has sent what it was given */
};

static int64_t tick_time(const struct engine *e)
{
    return e->running ? e->origin + e->tick * TICK_US : e->now;
}

void iax_flush(struct engine *e)
{
    struct iax_outlet *o = e->iax.outlet;
    unsigned at = 0;

    if (!o || !o->count)
        return;
    while (at < o->count) {
        int sent = sendmmsg(o->socket->fd, o->messages + at, o->count - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent > 0) {
            at += (unsigned)sent;
            continue;
        }
        if (o->socket->owner) {
            o->socket->owner->dropped++;
            if (!o->socket->in_fault && errno != EAGAIN)
                log_line("stream %u (%s): sending IAX2: %s", o->socket->owner->id, o->socket->owner->label,
                         strerrordesc_np(errno));
        }
        o->socket->in_fault = true;
        at++; /* the one that could not be sent */
    }
    o->count = 0;
}

/* Room for a mini frame, filled by `iax_gathered`. */
static uint8_t *room(struct engine *e, struct iax_socket *k)
{
    struct iax_outlet *o = e->iax.outlet;

    if (o->count == IAX_BATCH || (o->count && o->socket != k))
        iax_flush(e);
    o->socket = k;
    return o->data[o->count];
}

static void gathered(struct engine *e, const struct stream *s, size_t size)
{
    struct iax_outlet *o = e->iax.outlet;
    unsigned i = o->count++;

    o->to[i] = s->rtp.remote;
    o->parts[i] = (struct iovec){.iov_base = o->data[i], .iov_len = size};
    o->messages[i].msg_hdr = (struct msghdr){
        .msg_name = &o->to[i], .msg_namelen = s->rtp.address_size, .msg_iov = &o->parts[i], .msg_iovlen = 1};
}

/* False: it cannot be protected. */
static bool send_mini(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t stamp)
{
    uint8_t *to = room(e, s->iax.socket);
    uint8_t clear[IAX_MINI_HEADER + CODED_PAYLOAD_MAX];
    const bool secret = s->iax.send.chain;
    struct writer w = writer_over(secret ? clear : to, IAX_MINI_HEADER + CODED_PAYLOAD_MAX);

    put_be16(&w, s->iax.source);
    put_be16(&w, stamp & 0xffff);
    put_bytes(&w, payload, size);
    size = w.at;
    if (w.full)
        return false;
    if (secret)
        size = iax_encrypt(&s->iax.send, to, clear, size);
    if (!size)
        return false;
    gathered(e, s, size);
    return true;
}

static void tell(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t stamp)
{
    struct writer w = control_begin(e, GM_EVENT_IAX_VOICE, 0, s->id);

    put_le32(&w, stamp);
    put_u8(&w, s->rtp.payload_type);
    put_zeros(&w, 3);
    put_bytes(&w, payload, size);
    control_commit(e, &w);
}

/* Time stamps count what is sent. They follow the line's clock, and ours only where the two are far apart: in multiples of a
 * frame, and never back. False: this frame is too much. */
static bool keep_time(struct engine *e, struct iax_part *x, uint32_t sample)
{
    const uint32_t clock = (uint32_t)((tick_time(e) - x->epoch) / 1000);
    int32_t behind;

    if (!x->begun) {
        x->begun = true;
        x->stamp = clock / IAX_FRAME_MS * IAX_FRAME_MS;
        x->sample = sample;
        return true;
    }
    x->stamp += (uint32_t)((int32_t)(sample - x->sample) / (SAMPLE_RATE / 1000)); /* what is passed on may be late */
    x->sample = sample;
    behind = (int32_t)(clock - x->stamp);
    if (behind > SKEW_MS)
        x->stamp += (uint32_t)behind / IAX_FRAME_MS * IAX_FRAME_MS;
    if (behind >= -SKEW_MS)
        return true;
    x->stamp -= IAX_FRAME_MS; /* the next one takes its place */
    return false;
}

/* A trunk frame without stamps for each call has all of its own, which says nothing of the call's: there a full frame is for the
 * codec alone. Its time is of another clock, and whoever mixes up the two has it in the wrong place. */
static bool timeless(const struct iax_part *x)
{
    return x->trunk && !x->trunk->stamps;
}

void iax_say_again(const struct engine *e, struct stream *s)
{
    if (!(timeless(&s->iax) && s->iax.said && s->iax.said_at < e->control.alone_since - AGAIN_US))
        s->iax.again = e->now + AGAIN_US;
}

static unsigned way(const struct iax_part *x)
{
    return x->trunk ? GM_COPIED_TRUNKED : x->send.chain ? GM_COPIED_ENCRYPTED : GM_COPIED_MINI;
}

static bool knows(const struct iax_part *x, uint8_t codec)
{
    return x->said && x->said_codec == codec && (x->said_upper == x->stamp >> 16 || timeless(x));
}

void iax_transmit(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t sample)
{
    struct iax_part *x = &s->iax;
    uint8_t swapped[CODED_PAYLOAD_MAX];

    if (!x->socket || size > sizeof swapped || !keep_time(e, x, sample))
        return;
    if (s->rtp.payload_type == GM_CODEC_L16) { /* slin16 goes as chan_iax2 has it in memory, little-endian */
        codec_swap(swapped, payload, size);
        payload = swapped;
    }
    if (x->again && e->now >= x->again) {
        x->again = 0;
        x->said = false;
    }
    /* While nobody is there to send it the frame is better heard as any other than not at all. */
    if (s->adopted && !(x->said && x->again) && !knows(x, s->rtp.payload_type)) {
        x->said = true;
        x->said_at = e->now;
        x->said_codec = s->rtp.payload_type;
        x->said_upper = (uint16_t)(x->stamp >> 16);
        tell(e, s, payload, size, x->stamp);
    } else {
        if (s->tapped)
            tap_mini(e, s, false, way(x), e->now, x->stamp, payload, size);
        if (x->trunk) {
            iax_trunk_add(e, s, payload, size, x->stamp);
        } else if (!send_mini(e, s, payload, size, x->stamp)) {
            s->dropped++;
            return;
        }
    }
    s->packets_sent++;
    s->octets_sent += size;
}
