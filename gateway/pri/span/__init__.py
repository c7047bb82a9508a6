"""Layer 1 of a PRI: the state of the line, and the ways to reach its channels (virtual spans; cards come later)."""
