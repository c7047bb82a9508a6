#include "scene.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A call through the whole engine whose far end speaks SRTP, is behind NAT, or is under attack. */

static struct secure far;
static struct secure_library library;

static struct secure_key key_of(unsigned suite, uint8_t seed)
{
    static const unsigned lengths[] = {0, 30, 30, 46, 46, 28, 44};
    struct secure_key key = {.suite = (uint8_t)suite};

    for (unsigned i = 0; i < lengths[suite]; i++)
        key.octets[i] = (uint8_t)(seed * 31 + i * 7);
    return key;
}

/* Sets keys on both sides, or on one; what else is said as in `said`. */
static void set_far(struct secure_key ours, struct secure_key theirs)
{
    bool renewed;

    CHECK_EQUAL(secure_set(&far, &library, &theirs, &ours, scene.engine.now, &renewed), 0);
    scene.far = &far;
}

static void set_engine(struct said said, struct secure_key ours, struct secure_key theirs)
{
    said.send = &ours;
    said.receive = &theirs;
    say(&said);
    CHECK_EQUAL(last_error(), 0);
}

static void begin_secure(unsigned suite)
{
    memset(&far, 0, sizeof far);
    begin(0);
    set_engine((struct said){0}, key_of(suite, 1), key_of(suite, 2));
    set_far(key_of(suite, 1), key_of(suite, 2));
}

static void end_secure(void)
{
    end();
    secure_close(&far);
}

/* Voice both ways; how much of it arrived. */
struct share {
    unsigned to_peer, to_line;
};

static struct share talk(unsigned frames)
{
    struct share share = {0};
    const unsigned peers = scene.peer_count, lines = scene.line_count;

    for (uint32_t i = 0; i < frames; i++) {
        send_audio(numbered(i + 1));
        send_block(numbered(i + 1));
        advance_frames(1);
    }
    advance_frames(2);
    for (unsigned i = peers; i < scene.peer_count; i++)
        share.to_peer += !quiet(&scene.on_peer[i % FRAMES_MAX]);
    for (unsigned i = lines; i < scene.line_count; i++)
        share.to_line += !quiet(&scene.on_line[i % FRAMES_MAX]);
    return share;
}

/* All of it, but for what a jitter buffer may lose where it begins. */
static void talks_well(unsigned frames)
{
    struct share share = talk(frames);

    CHECK(share.to_peer >= frames - 1);
    CHECK(share.to_line >= frames - 5);
}

static uint32_t counter(unsigned index)
{
    uint8_t body[GM_STATISTICS_BYTES];
    struct writer w = writer_over(body, sizeof body);
    struct cursor c = cursor_over(body, sizeof body);

    statistics_put(&scene.engine, rtp_stream(), &w);
    CHECK(!w.full && w.at == sizeof body);
    cursor_take(&c, GM_STATISTICS_LEAST_BYTES + 4UL * index);
    return cursor_le32(&c);
}

enum { UNAUTHENTICATED, REPLAYED, STRANGERS, SOURCE };

static bool latched(void)
{
    return counter(SOURCE) >> 8 & 1;
}

static void voice_is_protected_both_ways_with_every_suite(void)
{
    for (unsigned suite = 1; suite <= 6; suite++) {
        begin_secure(suite);
        talks_well(30);
        CHECK_EQUAL(scene.undeciphered, 0);
        scene.far = NULL; /* in the clear nothing is heard */
        CHECK_EQUAL(talk(10).to_line, 0);
        CHECK_EQUAL(counter(UNAUTHENTICATED), 10);
        end_secure();
    }
}

static void digits_are_protected_too(void)
{
    const uint8_t event[4] = {7, 0x8a, 3, 0x20};
    struct sines s;
    unsigned sent = 0;

    begin_secure(GM_AEAD_AES_256_GCM);
    sines_dtmf(&s, 7);
    for (unsigned i = 0; i < 20; i++) {
        send_block(i >= 5 && i < 11 ? dtmf(&s) : idle);
        advance_frames(1);
    }
    send_rtp(101, scene.stamp, event, sizeof event);
    advance_frames(2);
    for (unsigned i = 0; i < scene.peer_count; i++)
        sent += scene.on_peer[i].type == 101;
    CHECK(sent >= 7);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
    end_secure();
}

static void a_new_key_is_heard_at_once_and_the_old_one_until_then(void)
{
    struct secure_key ours = key_of(1, 3), theirs = key_of(1, 4);
    uint32_t ssrc;

    begin_secure(GM_AES_CM_128_HMAC_SHA1_80);
    talks_well(20);
    ssrc = rtp_stream()->rtp.ssrc;
    set_engine((struct said){0}, key_of(1, 1), key_of(1, 2)); /* the same */
    talks_well(20);
    CHECK_EQUAL(rtp_stream()->rtp.ssrc, ssrc);
    set_engine((struct said){0}, ours, theirs);
    CHECK(talk(10).to_line >= 8); /* the far end has not changed yet */
    set_far(ours, theirs);
    scene.undeciphered = 0;
    talks_well(50);
    CHECK_EQUAL(scene.undeciphered, 0);
    CHECK(!rtp_stream()->rtp.secure.former.session);
    set_engine((struct said){.direction = GM_RECVONLY}, ours, theirs); /* hold: what comes still counts */
    CHECK_EQUAL(talk(20).to_line, 0);
    set_engine((struct said){0}, ours, theirs);
    talks_well(20);
    CHECK_EQUAL(counter(UNAUTHENTICATED) + counter(REPLAYED), 0);
    end_secure();
}

/* Our sequence is near its wrap when the key changes: far ends that begin with a roll-over counter of 0 and those that go on
 * hear us, even if they lose what comes first. */
static void a_new_key_near_the_wrap_is_understood_by_all_far_ends(void)
{
    static const uint16_t places[] = {65534, 65535, 0, 5, 40000};

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        for (int begins_anew = 0; begins_anew < 2; begins_anew++) {
            const struct secure_key ours = key_of(5, 3), theirs = key_of(5, 4);
            struct rtp_part *r;

            begin_secure(GM_AEAD_AES_128_GCM);
            r = &stream_find(&scene.engine.streams, RTP)->rtp;
            r->sequence = (uint16_t)(places[i] - 60);
            scene.sequence = (uint16_t)(places[i] - 60);
            talks_well(62);
            set_engine((struct said){0}, ours, theirs);
            if (begins_anew) {
                secure_close(&far);
                memset(&far, 0, sizeof far);
            }
            set_far(ours, theirs);
            for (unsigned k = 0; k < 6; k++) { /* lost */
                send_block(idle);
                advance_frames(1);
            }
            scene.undeciphered = 0;
            talks_well(30);
            CHECK_EQUAL(scene.undeciphered, 0);
            CHECK(r->sequence < 0x8000);
            end_secure();
        }
}

static void long_calls_go_on_over_every_wrap(void)
{
    begin_secure(GM_AES_CM_128_HMAC_SHA1_32);
    for (unsigned turn = 0; turn < 5; turn++) {
        struct rtp_part *r = &stream_find(&scene.engine.streams, RTP)->rtp;

        for (unsigned quarter = 0; quarter < 4; quarter++) { /* minutes of sequence numbers at a time */
            scene.sequence = (uint16_t)(16384U * quarter + 16370);
            if (quarter || turn)
                r->sequence = (uint16_t)(16384U * quarter + 16370);
            else
                r->sequence = 16370;
            talks_well(30);
        }
        set_engine((struct said){0}, key_of(2, 1), key_of(2, 2)); /* a session timer's re-INVITE */
    }
    CHECK_EQUAL(scene.undeciphered, 0);
    CHECK_EQUAL(counter(UNAUTHENTICATED), 0);
    end_secure();
}

static void keys_come_and_go_with_the_description(void)
{
    const struct secure_key ours = key_of(3, 1), theirs = key_of(3, 2), none = {0};

    begin_secure(3);
    talks_well(20);
    say(&(struct said){0}); /* best effort, and the far end has given it up */
    scene.far = NULL;
    talks_well(20);
    say(&(struct said){.send = &ours, .receive = &none}); /* half of it is refused as a whole */
    CHECK(last_error() != 0);
    talks_well(20);
    set_engine((struct said){0}, ours, theirs);
    secure_close(&far);
    set_far(ours, theirs);
    talks_well(20);
    CHECK_EQUAL(scene.undeciphered, 0);
    end_secure();
}

/* What somebody who hears the traffic can send again, and somebody who does not can make up. */
static void replay_and_forgery_change_nothing(void)
{
    _Alignas(4) uint8_t packet[RTP_HEADER + SAMPLES + SECURE_ROOM];
    uint16_t port;
    int attacker = udp_socket(&port);
    size_t size = RTP_HEADER + SAMPLES;
    struct rtp_packet p = {.sequence = 0, .ssrc = 99};

    begin_secure(GM_AES_CM_128_HMAC_SHA1_80);
    scene.sequence = 100;
    talks_well(20);
    p.sequence = scene.sequence++;
    rtp_header(packet, &p);
    CHECK_EQUAL(secure_protect(&far, packet, &size), 0);
    for (unsigned i = 0; i < 100; i++) { /* one good one from elsewhere, 99 times again, and from the far end's own address */
        send_raw(attacker, packet, size);
        send_raw(scene.peer, packet, size);
        talks_well(1 + 5);
    }
    CHECK(counter(REPLAYED) >= 150);
    for (unsigned i = 0; i < 100; i++) {
        packet[2] = (uint8_t)((scene.sequence + 3) >> 8);
        packet[3] = (uint8_t)(scene.sequence + 3);
        packet[RTP_HEADER + 5]++;
        send_raw(i % 2 ? attacker : scene.peer, packet, size);
        advance_frames(1);
    }
    CHECK(counter(UNAUTHENTICATED) >= 50);
    talks_well(30);
    CHECK_EQUAL(count_events(GM_EVENT_LOST, RTP), 0);
    CHECK(!latched());
    close(attacker);
    end_secure();
}

/* Everything is answered from where the far end is told to be, and its voice comes from behind a NAT. */
static void behind_nat(bool secure, bool known_by_signalling)
{
    uint16_t nat_port, stranger_port, sip_port;
    int nat = udp_socket(&nat_port), stranger = udp_socket(&stranger_port), phone, sdp = udp_socket(&sip_port);
    struct said said = {.latch = true, .port = sip_port, .signalling = {127, 0, 0, 1}};

    if (!known_by_signalling)
        memset(said.signalling, 0, sizeof said.signalling);
    memset(&far, 0, sizeof far);
    begin(0);
    phone = scene.peer;
    scene.peer = nat;
    if (secure) {
        set_engine(said, key_of(1, 1), key_of(1, 2));
        set_far(key_of(1, 1), key_of(1, 2));
    } else {
        say(&said);
    }
    CHECK(talk(10).to_peer >= (secure ? 9 : 5));
    CHECK(latched());
    CHECK_EQUAL(counter(SOURCE) >> 16, nat_port);
    for (uint16_t i = 0; i < 100; i++) { /* bleed: somebody else tries the port, with our far end's SSRC and next sequence */
        const struct rtp_packet p = {.sequence = scene.sequence, .stamp = scene.stamp, .ssrc = scene.speaker};
        uint8_t packet[RTP_HEADER + SAMPLES] = {0};

        rtp_header(packet, &p);
        for (unsigned k = 0; k < 3; k++)
            send_raw(stranger, packet, sizeof packet);
        send_audio(numbered(i + 1));
        advance_frames(1);
    }
    CHECK_EQUAL(counter(SOURCE) >> 16, nat_port);
    CHECK_EQUAL(counter(STRANGERS) - (secure ? 0 : 3), 300);
    CHECK(recv(stranger, &(uint8_t){0}, 1, MSG_DONTWAIT) < 0); /* nothing of ours went there */
    talks_well(20);
    say(&said); /* now without keys or as before: the address is the same, the latch holds */
    scene.far = NULL;
    talks_well(20);
    CHECK_EQUAL(counter(SOURCE) >> 16, nat_port);
    scene.peer = stranger; /* the NAT has forgotten it: same source, same sequence */
    scene.sequence++;
    (void)talk(60);
    CHECK_EQUAL(counter(SOURCE) >> 16, stranger_port);
    talks_well(20);
    scene.peer = phone;
    close(nat);
    close(stranger);
    close(sdp);
    end_secure();
}

static void report_from(int fd, uint32_t ssrc)
{
    const struct sockaddr_in voice = scene.to;
    uint8_t report[8];
    struct writer w = writer_over(report, sizeof report);

    put_u8(&w, 0x80);
    put_u8(&w, 201);
    put_be16(&w, 1);
    put_be32(&w, ssrc);
    scene.to.sin_port = htons((uint16_t)(rtp_stream()->rtp.port + 1));
    send_raw(fd, report, w.at);
    scene.to = voice;
    advance_frames(2);
}

static void reports_go_to_whom_we_hear_and_not_to_its_neighbour(void)
{
    uint16_t sip_port, neighbour_port, rtcp_port;
    int sdp = udp_socket(&sip_port), neighbour = udp_socket(&neighbour_port), rtcp = udp_socket(&rtcp_port);
    const struct said said = {.latch = true, .port = sip_port, .signalling = {127, 0, 0, 1}};

    begin(0);
    say(&said);
    CHECK(talk(10).to_peer >= 5);
    report_from(neighbour, 0xbad);
    CHECK(!rtp_stream()->rtp.rtcp_latched);
    report_from(rtcp, scene.speaker);
    CHECK(rtp_stream()->rtp.rtcp_latched);
    CHECK_EQUAL(address_port(&rtp_stream()->rtp.remote_rtcp), rtcp_port);
    close(sdp);
    close(neighbour);
    close(rtcp);
    end();
}

static void a_far_end_behind_nat_is_latched_on_once(void)
{
    behind_nat(false, true);
    behind_nat(false, false);
}

static void a_far_end_behind_nat_with_srtp_is_latched_on_at_once(void)
{
    behind_nat(true, false);
}

static void without_an_address_nothing_is_sent_until_the_far_end_is_heard(void)
{
    const struct said said = {.none = true, .latch = true};

    begin(0);
    say(&said);
    for (unsigned i = 0; i < 20; i++) {
        send_block(numbered(i + 1));
        advance_frames(1);
    }
    CHECK_EQUAL(rtp_stream()->packets_sent, 0);
    CHECK_EQUAL(scene.peer_count, 0);
    (void)talk(10);
    talks_well(20);
    end();
}

static void a_far_end_that_sends_from_another_port_is_heard_and_sent_to_where_it_says(void)
{
    uint16_t port, stranger_port;
    int other = udp_socket(&port), stranger = udp_socket(&stranger_port), peer;
    const unsigned frames = 30;
    unsigned heard;

    begin(101);
    peer = scene.peer;
    scene.peer = other;
    heard = talk(frames).to_line;
    CHECK(heard >= frames - 9 && heard <= frames - 3); /* it had to prove itself */
    scene.peer = stranger;
    CHECK_EQUAL(talk(10).to_line, 0);
    scene.peer = other;
    CHECK(talk(frames).to_line >= frames - 5);
    scene.peer = peer;
    advance_frames(1);
    CHECK(scene.peer_count >= 2 * frames);
    close(other);
    close(stranger);
    end();
}

/* Ten thousand packets a second at the port of a call. */
static void a_flood_at_its_port_does_not_take_a_calls_voice(void)
{
    for (int secure = 0; secure < 2; secure++) {
        uint16_t port;
        int attacker = udp_socket(&port);
        uint8_t packet[RTP_HEADER + SAMPLES] = {0};
        unsigned before, late;

        if (secure)
            begin_secure(GM_AES_CM_128_HMAC_SHA1_80);
        else
            begin(101);
        talks_well(20);
        before = scene.line_count;
        for (uint32_t i = 0; i < 100; i++) {
            const struct rtp_packet p = {.sequence = (uint16_t)i, .stamp = i * 160, .ssrc = i};

            rtp_header(packet, &p);
            for (unsigned k = 0; k < 100; k++)
                send_raw(attacker, packet, sizeof packet);
            send_audio(numbered(i + 1));
            for (unsigned k = 0; k < 100; k++)
                send_raw(attacker, packet, sizeof packet);
            advance_frames(1);
        }
        advance_frames(2);
        late = 0;
        for (unsigned i = before; i < scene.line_count; i++)
            late += !quiet(&scene.on_line[i % FRAMES_MAX]);
        CHECK(late >= 95);
        CHECK_EQUAL(rtp_stream()->jitter.late, 0);
        CHECK(counter(STRANGERS) >= 19000);
        talks_well(20);
        close(attacker);
        if (secure)
            end_secure();
        else
            end();
    }
}

int main(void)
{
    scene_open();
    library = scene.engine.secure;
    RUN(voice_is_protected_both_ways_with_every_suite);
    RUN(digits_are_protected_too);
    RUN(a_new_key_is_heard_at_once_and_the_old_one_until_then);
    RUN(a_new_key_near_the_wrap_is_understood_by_all_far_ends);
    RUN(long_calls_go_on_over_every_wrap);
    RUN(keys_come_and_go_with_the_description);
    RUN(replay_and_forgery_change_nothing);
    RUN(a_far_end_behind_nat_is_latched_on_once);
    RUN(reports_go_to_whom_we_hear_and_not_to_its_neighbour);
    RUN(a_far_end_behind_nat_with_srtp_is_latched_on_at_once);
    RUN(without_an_address_nothing_is_sent_until_the_far_end_is_heard);
    RUN(a_far_end_that_sends_from_another_port_is_heard_and_sent_to_where_it_says);
    RUN(a_flood_at_its_port_does_not_take_a_calls_voice);
    scene_close();
    return 0;
}
