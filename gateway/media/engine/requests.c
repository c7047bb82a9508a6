#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

enum { GRACE_LEAST_US = 5000000 /* a client that says hello late still gets the time to adopt */ };

void requests_close(struct engine *e, struct stream *s)
{
    bridge_leave(e, s);
    if (s->tapped)
        (void)tap_set(e, s, false);
    if (s->kind == GM_KIND_RTP)
        rtp_close(e, s);
    if (s->kind == GM_KIND_TDM)
        tdm_close(e, s);
    if (s->kind == GM_KIND_IAX)
        iax_stream_close(e, s);
    if (s->kind == GM_KIND_IAX_SOCKET)
        iax_socket_close(e, s);
    if (s->file.file)
        disk_release(&e->disk, s->file.file);
    stream_free(&e->streams, s);
}

static int hello(struct engine *e, const struct message *m, struct cursor *c)
{
    unsigned first = cursor_le16(c);
    unsigned last = cursor_le16(c);
    uint32_t silence = cursor_le32(c);
    uint32_t grace = cursor_le32(c);
    struct writer w;

    if (c->bad)
        return EBADMSG;
    if ((first || last) && (first < 1024 || last < first + 2))
        return EINVAL;
    if (first) {
        e->options.port_first = (uint16_t)first;
        e->options.port_last = (uint16_t)last;
    }
    e->options.silence_milliseconds = silence > 3600000 ? 3600000 : silence;
    e->options.grace_seconds = grace > 86400 ? 86400 : grace;
    if (e->control.graceful && e->control.grace_end < e->now + GRACE_LEAST_US)
        e->control.grace_end = e->now + GRACE_LEAST_US;
    log_line("client says hello: ports %u-%u, silence %u ms, grace %u s, %u streams kept", e->options.port_first,
             e->options.port_last, e->options.silence_milliseconds, e->options.grace_seconds, e->streams.used);
    w = control_begin(e, GM_HELLO | GM_REPLY, m->request, m->stream);
    put_le32(&w, 0);
    put_u8(&w, e->streams.used == 0);
    put_zeros(&w, 3);
    put_le32(&w, e->streams.used);
    put_le32(&w, e->streams.count);
    put_le32(&w, (uint32_t)getpid());
    control_commit(e, &w);
    return 0;
}

static int send_digits(struct stream *s, struct cursor *c)
{
    uint32_t milliseconds = cursor_le32(c);
    size_t count = cursor_left(c);
    const uint8_t *digits = cursor_take(c, count);

    if (c->bad || !count)
        return EBADMSG;
    if (!stream_packets(s) && s->kind != GM_KIND_TDM)
        return EINVAL;
    if (milliseconds > 60000 || count > GM_DIGITS_MAX - s->digits.count)
        return ENOBUFS;
    for (size_t i = 0; i < count; i++)
        if (dtmf_event((char)digits[i]) < 0)
            return EINVAL;
    for (size_t i = 0; i < count; i++)
        digits_add(&s->digits, (unsigned)dtmf_event((char)digits[i]), milliseconds * 8);
    return 0;
}

static void report(struct engine *e, const struct message *m, const struct stream *s)
{
    struct writer w;

    if (!m->request)
        return;
    w = control_begin(e, m->opcode | GM_REPLY, m->request, m->stream);
    put_le32(&w, 0);
    statistics_put(e, s, &w);
    control_commit(e, &w);
}

static int list(struct engine *e, const struct message *m, struct cursor *c)
{
    uint32_t skip = cursor_le32(c);
    unsigned entries = 0;
    struct writer w;

    if (c->bad)
        return EBADMSG;
    w = control_begin(e, GM_LIST | GM_REPLY, m->request, m->stream);
    put_le32(&w, 0);
    put_le32(&w, e->streams.used);
    for (unsigned i = 0; i < e->streams.count && entries < GM_LIST_MAX; i++) {
        const struct stream *s = &e->streams.all[i];

        if (!s->kind)
            continue;
        if (skip) {
            skip--;
            continue;
        }
        put_le32(&w, s->id);
        put_le32(&w, s->peer ? s->peer->id : 0);
        put_le16(&w, s->rtp.port);
        put_u8(&w, s->kind);
        put_u8(&w, s->adopted);
        put_bytes(&w, s->label, GM_LABEL_BYTES);
        entries++;
    }
    control_commit(e, &w);
    return 0;
}

static int send_iax(struct engine *e, struct stream *s, struct cursor *c)
{
    int family = cursor_u8(c) == 6 ? AF_INET6 : AF_INET;
    union address to;
    const uint8_t *address, *data;
    uint16_t port;
    size_t size;
    int err;

    cursor_take(c, 1);
    port = cursor_le16(c);
    address = cursor_take(c, 16);
    size = cursor_left(c);
    data = cursor_take(c, size);
    if (c->bad || !size)
        return EBADMSG;
    err = iax_socket_address(s->iax.socket, &to, family, address, port);
    return err ? err : iax_send_frame(e, s, &to, data, size);
}

static int close_stream(struct engine *e, const struct message *m, struct stream *s)
{
    if (s->file.request) {
        struct message open = {.opcode = s->kind == GM_KIND_PROMPT ? GM_OPEN_PROMPT : GM_OPEN_RECORDER,
                               .request = s->file.request,
                               .stream = s->id};

        control_failure(e, &open, ECANCELED, NULL);
    }
    report(e, m, s);
    requests_close(e, s);
    return 0;
}

/* Requests about a stream that exists. */
static int on_stream(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    struct stream *other;
    bool on;

    switch (m->opcode) {
    case GM_SET_RTP:
        return s->kind == GM_KIND_RTP ? rtp_set(e, s, c) : EINVAL;
    case GM_SET_IAX:
        return s->kind == GM_KIND_IAX ? iax_stream_set(e, s, c) : EINVAL;
    case GM_IAX_VOICE:
        return s->kind == GM_KIND_IAX ? iax_voice(e, s, c) : EINVAL;
    case GM_SEND_IAX:
        return s->kind == GM_KIND_IAX_SOCKET ? send_iax(e, s, c) : EINVAL;
    case GM_CONNECT:
        if (s->kind == GM_KIND_IAX_SOCKET)
            return EINVAL;
        other = stream_find(&e->streams, cursor_le32(c));
        if (c->bad)
            return EBADMSG;
        if (!other)
            return ENOENT;
        if (other == s || other->kind == GM_KIND_IAX_SOCKET)
            return EINVAL;
        bridge_connect(e, s, other);
        return 0;
    case GM_DISCONNECT:
        bridge_disconnect(e, s);
        return 0;
    case GM_SEND_DIGITS:
        return send_digits(s, c);
    case GM_TAP:
        on = cursor_u8(c);
        return c->bad ? EBADMSG : tap_set(e, s, on);
    case GM_ADOPT:
        s->adopted = true;
        iax_say_again(e, s);
        return 0;
    default:
        return ENOSYS;
    }
}

void request_execute(struct engine *e, const struct message *m, struct cursor *c)
{
    struct stream *s = stream_find(&e->streams, m->stream);
    bool replied = true;
    int err;

    if (m->opcode == GM_HELLO) {
        err = hello(e, m, c);
    } else if (m->opcode == GM_LIST) {
        err = list(e, m, c);
    } else if (requests_opens(m->opcode)) {
        err = m->stream ? requests_open(e, m, c) : EINVAL;
    } else if (!s) {
        err = ENOENT;
    } else if (m->opcode == GM_STATISTICS) {
        report(e, m, s);
        err = 0;
    } else if (m->opcode == GM_CLOSE) {
        err = close_stream(e, m, s);
    } else {
        err = on_stream(e, m, c, s);
        replied = false;
    }
    if (err)
        control_failure(e, m, err, NULL);
    else if (!replied)
        control_reply(e, m);
}

/* Files whose opening has ended, one way or the other, and those that failed later. */
void requests_disk(struct engine *e)
{
    for (unsigned i = 0; i < e->streams.count; i++) {
        struct stream *s = &e->streams.all[i];
        struct disk_file *f = s->kind == GM_KIND_PROMPT || s->kind == GM_KIND_RECORDER ? s->file.file : NULL;
        int state = f ? atomic_load(&f->state) : DISK_FREE;
        struct message m = {.opcode = s->kind == GM_KIND_PROMPT ? GM_OPEN_PROMPT : GM_OPEN_RECORDER,
                            .request = s->file.request,
                            .stream = s->id};

        if (!f || state == DISK_OPENING || state == DISK_FREE)
            continue;
        if (state == DISK_FAILED && !s->file.opened) {
            if (m.request)
                control_failure(e, &m, f->error, f->why);
            requests_close(e, s);
        } else if (state == DISK_FAILED && !s->file.ended) {
            s->file.ended = true;
            control_event_lost(e, s->id, f->why);
        } else if (!s->file.opened) {
            s->file.opened = true;
            s->file.request = 0;
            control_reply(e, &m);
        } else if (state == DISK_ENDED && s->kind == GM_KIND_RECORDER && !s->file.ended) {
            s->file.ended = true;
            control_event_lost(e, s->id, "recording has its full length");
        }
    }
    control_flush(e);
}
