/* The E-model of G.107 (narrow-band, all other parameters at their defaults) for one direction of a G.711 call. */
#ifndef GM_MOS_H
#define GM_MOS_H

/* Rating R from the one-way mouth-to-ear delay and the packet loss (0..1, random). */
double mos_rating(double delay_milliseconds, double loss);
/* G.107 annex B: 1.0 to 4.5. */
double mos_of_rating(double rating);

#endif
