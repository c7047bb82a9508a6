/* What the fuzz targets share: an engine with real sockets on loopback and a clock of ours. */
#ifndef GM_FUZZ_SCENE_H
#define GM_FUZZ_SCENE_H

#include "../engine.h"

enum { LINE = 1, VOICE = 2, OTHER = 3 };

struct scene {
    struct engine engine;
    int control; /* our end of the connection of a client that has said hello */
};

extern struct scene scene;

/* The first time: starts the engine in an empty directory, where it opens no file; true. */
bool scene_open(void);
/* Ends all streams and reads what the engine has said. */
void scene_clear(void);
/* Runs so many frames of 20 ms. */
void scene_run(unsigned frames);

#endif
