"""``make bench``: what a call costs, measured on the whole product with real peers in the same run."""
