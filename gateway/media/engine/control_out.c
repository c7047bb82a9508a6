#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine.h"

/* Replies and events: gathered into one packet until something flushes it. */

void control_flush(struct engine *e)
{
    struct control *c = &e->control;
    ssize_t sent;

    if (!c->out_size)
        return;
    sent = c->client < 0 ? 0 : send(c->client, c->out, c->out_size, MSG_DONTWAIT | MSG_NOSIGNAL);
    c->out_size = 0;
    if (sent < 0)
        control_drop(e, errno == EAGAIN ? "it does not read" : strerrordesc_np(errno));
}

size_t control_backlog(const struct engine *e)
{
    int octets = 0;

    return e->control.client >= 0 && !ioctl(e->control.client, SIOCOUTQ, &octets) && octets > 0 ? (size_t)octets : 0;
}

struct writer control_begin(struct engine *e, uint8_t opcode, uint32_t request, uint32_t stream)
{
    struct control *c = &e->control;
    struct writer w;

    if (c->out_size + GM_HEADER_BYTES + GM_BODY_MAX > sizeof c->out)
        control_flush(e);
    w = writer_over(c->out + c->out_size, GM_HEADER_BYTES + GM_BODY_MAX);
    put_le16(&w, GM_MAGIC);
    put_u8(&w, GM_VERSION);
    put_u8(&w, opcode);
    put_le32(&w, request);
    put_le32(&w, stream);
    put_le32(&w, 0);
    return w;
}

void control_commit(struct engine *e, struct writer *w)
{
    struct writer length = writer_over(w->data + GM_HEADER_BYTES - 4, 4);

    if (w->full || e->control.client < 0)
        return;
    put_le32(&length, (uint32_t)w->at - GM_HEADER_BYTES);
    e->control.out_size += w->at;
}

void control_reply(struct engine *e, const struct message *m)
{
    struct writer w;

    if (!m->request)
        return;
    w = control_begin(e, m->opcode | GM_REPLY, m->request, m->stream);
    put_le32(&w, 0);
    control_commit(e, &w);
}

static void put_text(struct writer *w, const char *text)
{
    size_t size = strlen(text);

    put_bytes(w, text, size > GM_TEXT_MAX ? GM_TEXT_MAX : size);
}

void control_failure(struct engine *e, const struct message *m, int err, const char *text)
{
    struct writer w = control_begin(e, m->opcode | GM_REPLY, m->request, m->stream);
    const char *known = strerrordesc_np(err);

    put_le32(&w, (uint32_t)err);
    put_text(&w, text ? text : known ? known : "unknown error");
    control_commit(e, &w);
}

void control_event(struct engine *e, uint8_t event, uint32_t stream)
{
    struct writer w = control_begin(e, event, 0, stream);

    control_commit(e, &w);
}

void control_event_digit(struct engine *e, uint32_t stream, char digit, uint32_t milliseconds)
{
    struct writer w = control_begin(e, GM_EVENT_DIGIT, 0, stream);

    put_le32(&w, milliseconds);
    put_u8(&w, (uint8_t)digit);
    put_zeros(&w, 3);
    control_commit(e, &w);
}

void control_event_silent(struct engine *e, uint32_t stream, uint32_t milliseconds)
{
    struct writer w = control_begin(e, GM_EVENT_SILENT, 0, stream);

    put_le32(&w, milliseconds);
    control_commit(e, &w);
}

void control_event_lost(struct engine *e, uint32_t stream, const char *text)
{
    struct writer w = control_begin(e, GM_EVENT_LOST, 0, stream);

    put_text(&w, text);
    control_commit(e, &w);
}
