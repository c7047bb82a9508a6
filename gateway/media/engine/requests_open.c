#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"

/* The requests that make a stream. */

static void take_label(struct stream *s, struct cursor *c)
{
    cursor_copy(c, s->label, GM_LABEL_BYTES);
    s->label[GM_LABEL_BYTES - 1] = 0;
    for (char *p = s->label; *p; p++) /* it goes to the log */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

static void reply_port(struct engine *e, const struct message *m, uint16_t port, uint16_t rtcp)
{
    struct writer w;

    if (!m->request)
        return;
    w = control_begin(e, m->opcode | GM_REPLY, m->request, m->stream);
    put_le32(&w, 0);
    put_le16(&w, port);
    put_le16(&w, rtcp);
    control_commit(e, &w);
}

static int open_rtp(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    int family = cursor_u8(c) == 6 ? AF_INET6 : AF_INET;
    const uint8_t *address;
    int err;

    cursor_take(c, 3);
    address = cursor_take(c, 16);
    take_label(s, c);
    if (c->bad)
        return EBADMSG;
    err = rtp_open(e, s, family, address);
    if (!err)
        reply_port(e, m, s->rtp.port, (uint16_t)(s->rtp.port + 1U));
    return err;
}

static int open_tdm(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    unsigned law = cursor_u8(c);
    bool listening = cursor_u8(c);
    size_t size;
    const uint8_t *path;
    char text[GM_FILE_PATH_MAX + 1];
    int err;

    cursor_take(c, 2);
    take_label(s, c);
    size = cursor_left(c);
    path = cursor_take(c, size);
    if (c->bad)
        return EBADMSG;
    if (law > GM_LAW_ALAW || !size || memchr(path, 0, size))
        return EINVAL;
    if (size > GM_SOCKET_PATH_MAX)
        return ENAMETOOLONG;
    memcpy(text, path, size);
    text[size] = 0;
    err = tdm_open(e, s, text, size, law == GM_LAW_ALAW ? ALAW : ULAW, listening);
    if (!err)
        control_reply(e, m);
    return err;
}

static int open_tone(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    struct tone *t = &s->tone;
    unsigned steps = cursor_u8(c);

    t->repeat_from = cursor_u8(c);
    cursor_take(c, 2);
    take_label(s, c);
    if (!steps || steps > GM_STEPS_MAX || (t->repeat_from >= steps && t->repeat_from != GM_NO_REPEAT))
        return EINVAL;
    t->count = steps;
    for (unsigned i = 0; i < steps; i++) {
        struct tone_step *step = &t->steps[i];

        for (int k = 0; k < GM_FREQUENCIES_MAX; k++) {
            step->hertz[k] = cursor_le16(c);
            if (step->hertz[k] >= SAMPLE_RATE / 2)
                return EINVAL;
        }
        step->milliseconds = cursor_le32(c);
        step->centibels = (int16_t)cursor_le16(c);
        cursor_take(c, 2);
        if (step->milliseconds > 3600000 || step->centibels > 317 || step->centibels < -9900)
            return EINVAL;
    }
    if (c->bad)
        return EBADMSG;
    tone_start(t);
    control_reply(e, m);
    return 0;
}

static int open_file(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    uint32_t first = cursor_le32(c); /* prompt: u8 repeat; recorder: seconds */
    size_t size;
    const uint8_t *path;
    char text[GM_FILE_PATH_MAX + 1];

    take_label(s, c);
    size = cursor_left(c);
    path = cursor_take(c, size);
    if (c->bad)
        return EBADMSG;
    if (!size || memchr(path, 0, size) || (m->opcode == GM_OPEN_RECORDER && !first))
        return EINVAL;
    if (size > GM_FILE_PATH_MAX)
        return ENAMETOOLONG;
    memcpy(text, path, size);
    text[size] = 0;
    if (m->opcode == GM_OPEN_PROMPT) {
        s->file.file = disk_start_read(&e->disk, text, first & 0xff);
    } else {
        s->file.file = disk_start_write(&e->disk, text, first);
        bridge_join(e, s);
    }
    s->file.request = m->request;
    return s->file.file ? 0 : ENFILE;
}

static int open_iax_socket(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    int family = cursor_u8(c) == 6 ? AF_INET6 : AF_INET;
    const uint8_t *address;
    uint16_t port;
    int err;

    cursor_take(c, 1);
    port = cursor_le16(c);
    address = cursor_take(c, 16);
    take_label(s, c);
    if (c->bad)
        return EBADMSG;
    err = iax_socket_open(e, s, family, address, port);
    if (!err)
        reply_port(e, m, s->rtp.port, 0);
    return err;
}

static int open_iax(struct engine *e, const struct message *m, struct cursor *c, struct stream *s)
{
    struct stream *socket = stream_find(&e->streams, cursor_le32(c));
    int err;

    take_label(s, c);
    if (c->bad)
        return EBADMSG;
    if (!socket || socket->kind != GM_KIND_IAX_SOCKET)
        return ENOENT;
    err = iax_stream_open(e, s, socket);
    if (!err)
        control_reply(e, m);
    return err;
}

static const uint8_t kinds[] = {[GM_OPEN_RTP] = GM_KIND_RTP,
                                [GM_OPEN_TDM] = GM_KIND_TDM,
                                [GM_OPEN_TONE] = GM_KIND_TONE,
                                [GM_OPEN_PROMPT] = GM_KIND_PROMPT,
                                [GM_OPEN_ECHO] = GM_KIND_ECHO,
                                [GM_OPEN_RECORDER] = GM_KIND_RECORDER,
                                [GM_OPEN_IAX_SOCKET] = GM_KIND_IAX_SOCKET,
                                [GM_OPEN_IAX] = GM_KIND_IAX};

bool requests_opens(unsigned opcode)
{
    return opcode < sizeof kinds && kinds[opcode];
}

int requests_open(struct engine *e, const struct message *m, struct cursor *c)
{
    struct stream *s;
    int err = 0;

    if (stream_find(&e->streams, m->stream))
        return EEXIST;
    s = stream_new(&e->streams, m->stream, kinds[m->opcode]);
    if (!s)
        return ENFILE;
    s->expected_from = e->now;
    switch (m->opcode) {
    case GM_OPEN_RTP:
        err = open_rtp(e, m, c, s);
        break;
    case GM_OPEN_IAX_SOCKET:
        err = open_iax_socket(e, m, c, s);
        break;
    case GM_OPEN_IAX:
        err = open_iax(e, m, c, s);
        break;
    case GM_OPEN_TDM:
        err = open_tdm(e, m, c, s);
        break;
    case GM_OPEN_TONE:
        err = open_tone(e, m, c, s);
        break;
    case GM_OPEN_ECHO:
        take_label(s, c);
        err = c->bad ? EBADMSG : 0;
        if (!err)
            control_reply(e, m);
        break;
    default:
        err = open_file(e, m, c, s);
        break;
    }
    if (err)
        requests_close(e, s);
    return err;
}
