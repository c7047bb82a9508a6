#include <errno.h>

#include "engine.h"

static bool is_wide(const struct codec *c)
{
    return c->id != GM_CODEC_ULAW && c->id != GM_CODEC_ALAW;
}

int voice_codec_prepare(struct engine *e, const struct stream *s, const struct codec *codec, struct wide **wide)
{
    *wide = is_wide(codec) && !s->rtp.wide ? wide_new(&e->wides, codec->id) : NULL;
    return is_wide(codec) && !s->rtp.wide && !*wide ? ENOBUFS : 0;
}

bool voice_codec_set(struct engine *e, struct stream *s, const struct codec *codec, struct wide *wide)
{
    struct rtp_part *r = &s->rtp;
    const enum law law = codec->id == GM_CODEC_ALAW ? ALAW : ULAW;

    if (r->set && (is_wide(codec) ? r->wide && r->wide->codec == codec->id : !r->wide && law == r->law))
        return false;
    if (wide) {
        r->wide = wide;
    } else if (is_wide(codec)) {
        wide_reset(r->wide, codec->id);
    } else if (r->wide) {
        wide_free(&e->wides, r->wide);
        r->wide = NULL;
    }
    r->law = s->jitter.law = law;
    jitter_decode(&s->jitter, r->wide ? &r->wide->decoder : NULL);
    return true;
}

void voice_codec_end(struct engine *e, struct stream *s)
{
    if (s->rtp.wide)
        wide_free(&e->wides, s->rtp.wide);
    s->rtp.wide = NULL;
    s->jitter.decoder = NULL;
}
