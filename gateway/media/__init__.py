"""Voice: the client of the media engine. The engine itself is C, in ``engine/``."""
