#include "../disk.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../cursor.h"
#include "../law.h"
#include "check.h"

static char directory[] = "/tmp/gateway-media-XXXXXX";
static char path[128];
static struct disk disk;

static const char *named(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void store(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(named(name), "wb");

    CHECK(f);
    CHECK_EQUAL(fwrite(data, 1, size, f), size);
    CHECK_EQUAL(fclose(f), 0);
}

static size_t header(uint8_t *to, unsigned format, unsigned channels, unsigned rate, unsigned bits, unsigned size)
{
    struct writer w = writer_over(to, 64);

    put_bytes(&w, "RIFF", 4);
    put_le32(&w, size + 36);
    put_bytes(&w, "WAVEfmt ", 8);
    put_le32(&w, 16);
    put_le16(&w, format);
    put_le16(&w, channels);
    put_le32(&w, rate);
    put_le32(&w, rate * bits / 8);
    put_le16(&w, bits / 8);
    put_le16(&w, bits);
    put_bytes(&w, "data", 4);
    put_le32(&w, size);
    return w.at;
}

static int settled(struct disk_file *f)
{
    for (int i = 0; i < 1000; i++) {
        struct pollfd p = {.fd = disk.event, .events = POLLIN};
        uint64_t count;
        int state = atomic_load(&f->state);

        if (state != DISK_OPENING && (state != DISK_OPEN || f->writing || atomic_load(&f->head)))
            return state;
        (void)poll(&p, 1, 10);
        (void)!read(disk.event, &count, sizeof count);
    }
    return -1;
}

static void done(struct disk_file *f)
{
    disk_release(&disk, f);
    for (int i = 0; i < 1000 && atomic_load(&f->state) != DISK_FREE; i++)
        (void)poll(NULL, 0, 1);
    CHECK_EQUAL(atomic_load(&f->state), DISK_FREE);
}

static void a_prompt_is_played_to_its_last_sample(void)
{
    uint8_t file[64 + 100000];
    size_t at = header(file, WAV_LINEAR, 1, 8000, 16, 80000);
    struct disk_file *f;
    int16_t samples[SAMPLES];
    unsigned total = 0;

    for (int i = 0; i < 40000; i++) {
        file[at + 2 * (size_t)i] = (uint8_t)i;
        file[at + 2 * (size_t)i + 1] = (uint8_t)(i >> 8);
    }
    store("prompt.wav", file, at + 80000);
    f = disk_start_read(&disk, path, false);
    CHECK(f);
    CHECK_EQUAL(settled(f), DISK_OPEN);
    for (int i = 0; i < 10000 && total < 40000; i++) {
        size_t got = disk_take(f, samples, SAMPLES);

        for (size_t k = 0; k < got; k++)
            CHECK_EQUAL(samples[k], (int16_t)(total + k));
        total += (unsigned)got;
        if (!got)
            (void)poll(NULL, 0, 5);
    }
    CHECK_EQUAL(total, 40000);
    done(f);
}

static void a_repeated_alaw_prompt_has_no_gap(void)
{
    uint8_t file[64 + 250];
    size_t at = header(file, WAV_ALAW, 1, 8000, 8, 250);
    struct disk_file *f;
    int16_t samples[1000];

    for (unsigned i = 0; i < 250; i++)
        file[at + i] = (uint8_t)i;
    store("alaw.wav", file, at + 250);
    f = disk_start_read(&disk, path, true);
    CHECK_EQUAL(settled(f), DISK_OPEN);
    CHECK_EQUAL(disk_take(f, samples, 1000), 1000);
    for (unsigned i = 0; i < 1000; i++)
        CHECK_EQUAL(samples[i], law_linear(ALAW, (uint8_t)(i % 250)));
    done(f);
}

static void a_wrong_file_fails_with_its_reason(void)
{
    static const struct {
        unsigned format, channels, rate, bits;
        const char *why;
    } wrong[] = {{1, 2, 8000, 16, "2 channels"}, {1, 1, 44100, 16, "44100 Hz"}, {1, 1, 8000, 8, "8 bits"},
                 {3, 1, 8000, 16, "format 3"}};
    uint8_t file[64 + 400] = {0};
    struct disk_file *f;

    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t at = header(file, wrong[i].format, wrong[i].channels, wrong[i].rate, wrong[i].bits, 400);

        store("wrong.wav", file, at + 400);
        f = disk_start_read(&disk, path, false);
        CHECK_EQUAL(settled(f), DISK_FAILED);
        CHECK(strstr(f->why, wrong[i].why));
        done(f);
    }
    store("wrong.wav", "hello", 5);
    f = disk_start_read(&disk, path, false);
    CHECK_EQUAL(settled(f), DISK_FAILED);
    CHECK(strstr(f->why, "not a WAV file"));
    done(f);
    f = disk_start_read(&disk, named("nowhere.wav"), false);
    CHECK_EQUAL(settled(f), DISK_FAILED);
    CHECK_EQUAL(f->error, ENOENT);
    done(f);
    f = disk_start_read(&disk, directory, false);
    CHECK_EQUAL(settled(f), DISK_FAILED);
    done(f);
}

static void random_headers_break_nothing(void)
{
    uint64_t seed = 17;
    uint8_t file[200];
    char why[GM_TEXT_MAX];
    struct wav wav;
    FILE *f = fopen(named("fuzz.wav"), "w+b");

    CHECK(f);
    for (int i = 0; i < 20000; i++) {
        size_t at = header(file, 1, 1, 8000, 16, 100);
        size_t size = check_random(&seed) % sizeof file;

        for (; at < sizeof file; at++)
            file[at] = (uint8_t)check_random(&seed);
        for (unsigned k = check_random(&seed) % 6; k > 0; k--)
            file[check_random(&seed) % 48] = (uint8_t)check_random(&seed);
        CHECK_EQUAL(pwrite(fileno(f), file, size, 0), (ssize_t)size);
        CHECK_EQUAL(ftruncate(fileno(f), (off_t)size), 0);
        if (!wav_read_header(&wav, fileno(f), why, sizeof why))
            CHECK(wav.size > 0 && (size_t)wav.offset + wav.size <= size);
    }
    (void)fclose(f);
}

static void a_recording_is_a_valid_file_at_any_time(void)
{
    int16_t samples[SAMPLES];
    struct disk_file *f = disk_start_write(&disk, named("record.wav"), 10);
    char why[GM_TEXT_MAX];
    struct wav wav;
    FILE *read;

    memset(&wav, 0, sizeof wav);
    CHECK_EQUAL(settled(f), DISK_OPEN);
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < SAMPLES; k++)
            samples[k] = (int16_t)(i * SAMPLES + k);
        CHECK(disk_give(f, samples, SAMPLES));
    }
    read = fopen(path, "rb");
    CHECK(read);
    for (int i = 0; i < 500 && wav.size < 16000; i++) { /* while it is still open */
        (void)poll(NULL, 0, 10);
        (void)wav_read_header(&wav, fileno(read), why, sizeof why);
    }
    CHECK_EQUAL(wav.size, 16000);
    CHECK_EQUAL(wav.format, WAV_LINEAR);
    CHECK_EQUAL(fseek(read, (long)wav.offset + 2 * 4321L, SEEK_SET), 0);
    CHECK_EQUAL(fgetc(read), 4321 & 0xff);
    CHECK_EQUAL(fgetc(read), 4321 >> 8);
    (void)fclose(read);
    done(f);
}

static void a_recording_stops_at_its_length_and_a_full_disk_fails_it(void)
{
    int16_t samples[SAMPLES] = {0};
    struct disk_file *f = disk_start_write(&disk, named("short.wav"), 1);
    struct stat status;

    CHECK_EQUAL(settled(f), DISK_OPEN);
    for (int i = 0; i < 80; i++)
        CHECK(disk_give(f, samples, SAMPLES));
    for (int i = 0; i < 500 && atomic_load(&f->state) == DISK_OPEN; i++)
        (void)poll(NULL, 0, 10);
    CHECK_EQUAL(atomic_load(&f->state), DISK_ENDED);
    CHECK_EQUAL(stat(path, &status), 0);
    CHECK_EQUAL(status.st_size, WAV_HEADER + 16000);
    done(f);
    f = disk_start_write(&disk, "/dev/full", 1);
    CHECK_EQUAL(settled(f), DISK_FAILED);
    CHECK_EQUAL(f->error, ENOSPC);
    done(f);
}

static void files_are_limited_and_come_back(void)
{
    struct disk_file *held[4];

    for (int i = 0; i < 4; i++) {
        held[i] = disk_start_read(&disk, "/nowhere", false);
        CHECK(held[i]);
    }
    CHECK(!disk_start_read(&disk, "/nowhere", false));
    for (int i = 0; i < 4; i++)
        done(held[i]);
    held[0] = disk_start_read(&disk, "/nowhere", false);
    CHECK(held[0]);
    done(held[0]);
}

int main(void)
{
    law_init();
    CHECK(mkdtemp(directory));
    CHECK_EQUAL(disk_open(&disk, 4), 0);
    RUN(a_prompt_is_played_to_its_last_sample);
    RUN(a_repeated_alaw_prompt_has_no_gap);
    RUN(a_wrong_file_fails_with_its_reason);
    RUN(random_headers_break_nothing);
    RUN(a_recording_is_a_valid_file_at_any_time);
    RUN(a_recording_stops_at_its_length_and_a_full_disk_fails_it);
    RUN(files_are_limited_and_come_back);
    disk_close(&disk);
    static const char *const names[] = {"prompt.wav", "alaw.wav", "wrong.wav", "fuzz.wav", "record.wav", "short.wav"};

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlink(named(names[i]));
    (void)rmdir(directory);
    return 0;
}
