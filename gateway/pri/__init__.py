"""The public telephone network: spans, LAPD (Q.921), Q.931, trunks, and the simulated exchange."""
