/* The control protocol between signalling and engine: message layout, version 1. docs/media-engine.md explains it.
 *
 * One SOCK_SEQPACKET connection. A packet holds one or more messages back to back. All numbers are little-endian, no
 * padding. A message is a header of GM_HEADER_BYTES and `length` octets of body:
 *
 *   u16 magic  u8 version  u8 opcode  u32 request  u32 stream  u32 length
 *
 * A request with `request` 0 is answered only if it fails. A reply has the opcode of its request with GM_REPLY set, the
 * same `request` and `stream`, and a body that starts with i32 code: 0, or an errno followed by text to the end of the
 * body. An event has `request` 0. Text is UTF-8 without terminator. wire.py has the same constants; a test compares them.
 */
#ifndef GM_PROTOCOL_H
#define GM_PROTOCOL_H

enum {
    GM_MAGIC = 0x4d47,
    GM_VERSION = 1,
    GM_HEADER_BYTES = 16,
    GM_PACKET_MAX = 32768, /* octets of one packet, either way */
    GM_BODY_MAX = 4096,    /* octets of one message's body, either way */
    GM_LABEL_BYTES = 64,   /* label field, padded with NUL */
    GM_TEXT_MAX = 200,     /* octets of a text in a reply or an event */
    GM_SOCKET_PATH_MAX = 107, /* unix(7): sun_path without its NUL */
    GM_FILE_PATH_MAX = 1023,
    GM_DIGITS_MAX = 64,
    GM_STEPS_MAX = 16,
    GM_FREQUENCIES_MAX = 4,
    GM_LIST_MAX = 32, /* entries of one LIST reply */
    GM_NO_PAYLOAD_TYPE = 255,
    GM_NO_REPEAT = 255,
    GM_SRTP_KEY_BYTES = 48, /* master key and salt, padded with NUL; the longest has 46 */
    GM_SRTP_MKI_BYTES = 8, /* master key identifier at most, padded with NUL */
    GM_IAX_KEY_BYTES = 16, /* AES-128 */
    GM_TAPS_MAX = 32,      /* streams of which there are copies at once */
    GM_TAP_HEADER = 48,    /* octets before the packet in GM_EVENT_TAP */
    GM_IAX_FRAME_MAX = 4096 - 20, /* octets of a datagram that is handed over whole, either way */
};

/* Requests. "= body", "-> body of the reply after i32 code". */
enum {
    GM_REPLY = 0x80,
    /* = u16 first port, u16 last port (0,0: keep), u32 silence ms (0: never), u32 grace s
     * -> u8 fresh, u8[3] 0, u32 streams kept, u32 streams at most, u32 process id */
    GM_HELLO = 1,
    /* = u8 family (4, 6), u8 0, u16 0, u8[16] address, label -> u16 port, u16 rtcp port */
    GM_OPEN_RTP = 2,
    /* = u8 family, u8 codec, u8 payload type, u8 dtmf payload type, u8[16] address, u16 port, u16 rtcp port,
     *   u8 packet ms, u8 direction, u8 rtcp-mux, u8 digits are told in signalling and silence here, and then if at all
     *   u8 receive payload type, u8 receive dtmf payload type, u16 0. The first two payload types are what is sent;
     *   GM_NO_PAYLOAD_TYPE for what is received: the same.
     *   Then if at all u8 latch, u8 send suite, u8 receive suite (0, 0: no SRTP), u8 family, u8[16] address that signalling
     *   comes from (family 0: not known), u8[48] send key, u8[48] receive key.
     *   Then if at all u8 octets of the MKI that SRTP we receive has, u8[8] MKI. */
    GM_SET_RTP = 3,
    /* = u8 law, u8 listen, u16 0, label, path to the end */
    GM_OPEN_TDM = 4,
    /* = u8 steps, u8 repeat from (GM_NO_REPEAT: once), u16 0, label, steps x (u16[4] Hz, u32 ms, i16 cBm0, u16 0) */
    GM_OPEN_TONE = 5,
    /* = u8 repeat, u8[3] 0, label, path to the end */
    GM_OPEN_PROMPT = 6,
    /* = label */
    GM_OPEN_ECHO = 7,
    /* = u32 seconds at most, label, path to the end */
    GM_OPEN_RECORDER = 8,
    /* = u32 other stream */
    GM_CONNECT = 9,
    /* = nothing */
    GM_DISCONNECT = 10,
    /* = u32 ms, digits to the end */
    GM_SEND_DIGITS = 11,
    /* = nothing -> statistics */
    GM_STATISTICS = 12,
    /* = nothing -> statistics */
    GM_CLOSE = 13,
    /* = u32 entries to skip -> u32 streams in all, entries x (u32 stream, u32 peer, u16 port, u8 kind, u8 adopted, label) */
    GM_LIST = 14,
    /* = nothing -> nothing */
    GM_ADOPT = 15,
    /* = u8 family, u8 0, u16 port, u8[16] address, label -> u16 port, u16 0 */
    GM_OPEN_IAX_SOCKET = 16,
    /* = u8 family, u8 0, u16 port, u8[16] address, datagram to the end */
    GM_SEND_IAX = 17,
    /* = u32 socket, label */
    GM_OPEN_IAX = 18,
    /* = u8 family, u8 codec, u8 direction, u8 flags (GM_IAX_...), u8[16] address, u16 port, u16 our call number, u16 theirs,
     *   u16 octets of a trunk frame at most (0: 4096), i64 us of CLOCK_MONOTONIC when time stamps were 0,
     *   u8 octets of the send key (0: clear), u8 octets of the receive key, u16 0, u8[16] send key, u8[16] receive key */
    GM_SET_IAX = 19,
    /* = u32 time stamp in ms, u8 codec, u8[3] 0, payload to the end */
    GM_IAX_VOICE = 20,
    /* = u8 on, u8[3] 0. Of an RTP or IAX2 stream: copies of its voice as GM_EVENT_TAP, of GM_TAPS_MAX streams at once. */
    GM_TAP = 21,
};

/* Events. */
enum {
    GM_EVENT_DIGIT = 0x40,  /* = u32 ms, u8 digit (ASCII), u8[3] 0 */
    GM_EVENT_FIRST = 0x41,  /* = nothing */
    GM_EVENT_SILENT = 0x42, /* = u32 ms */
    GM_EVENT_HEARD = 0x43,  /* = nothing */
    GM_EVENT_ENDED = 0x44,  /* = nothing */
    GM_EVENT_LOST = 0x45,   /* = text to the end */
    GM_EVENT_IAX_FRAME = 0x46, /* = u8 family, u8 0, u16 port, u8[16] address, datagram to the end; of a socket */
    GM_EVENT_IAX_VOICE = 0x47, /* = u32 time stamp in ms, u8 codec, u8[3] 0, payload to the end */
    GM_EVENT_IAX_CLEAR = 0x48, /* = nothing */
    /* = u8 family, u8 it was received, u16 our port, u16 theirs, u8 GM_COPIED_..., u8 0, i64 us of CLOCK_MONOTONIC,
     *   u8[16] our address (zeros: any), u8[16] theirs, RTP packet or mini frame in clear to the end */
    GM_EVENT_TAP = 0x49,
};

enum { GM_KIND_RTP = 1, GM_KIND_TDM = 2, GM_KIND_TONE = 3, GM_KIND_PROMPT = 4, GM_KIND_ECHO = 5, GM_KIND_RECORDER = 6 };
enum { GM_KIND_IAX_SOCKET = 7, GM_KIND_IAX = 8 };
enum { GM_LAW_ULAW = 0, GM_LAW_ALAW = 1 };
enum { GM_CODEC_ULAW = 0, GM_CODEC_ALAW = 8, GM_CODEC_G722 = 9, GM_CODEC_OPUS = 128, GM_CODEC_L16 = 129 };
enum { GM_INACTIVE = 0, GM_RECVONLY = 1, GM_SENDONLY = 2, GM_SENDRECV = 3 };

enum { GM_LATCH_NO = 0, GM_LATCH_ONCE = 1 };
/* What there is a copy of: an RTP packet; a mini frame, which came or went as one, encrypted or in a trunk frame. */
enum { GM_COPIED_RTP = 0, GM_COPIED_MINI = 1, GM_COPIED_ENCRYPTED = 2, GM_COPIED_TRUNKED = 3 };
enum { GM_IAX_TRUNK = 1, GM_IAX_TRUNK_STAMPS = 2, GM_IAX_ENCRYPTED = 4 };
enum {
    GM_AES_CM_128_HMAC_SHA1_80 = 1,
    GM_AES_CM_128_HMAC_SHA1_32 = 2,
    GM_AES_256_CM_HMAC_SHA1_80 = 3,
    GM_AES_256_CM_HMAC_SHA1_32 = 4,
    GM_AEAD_AES_128_GCM = 5,
    GM_AEAD_AES_256_GCM = 6,
};

/* statistics, in the order of Statistics in gateway/media/api.py: u64 x 4: packets sent, octets sent, packets received,
 * octets received; u32 x 6: lost, late, duplicated, reordered, rejected, concealed; f32 x 4: jitter, jitter maximum, round
 * trip, buffer delay (ms); u32 remote lost; f32 remote jitter (ms); u32 slips; f32 x 4: receive level, send level (dBm0),
 * frequency (Hz), MOS; where an engine of before ends; u32 x 3: unauthenticated, replayed, of strangers; u8 family of the
 * source that is heard (0: none), u8 latched, u16 port, u8[16] address. */
enum { GM_STATISTICS_LEAST_BYTES = 4 * 8 + 6 * 4 + 4 * 4 + 3 * 4 + 4 * 4, GM_STATISTICS_BYTES = 100 + 3 * 4 + 4 + 16 };

#endif
