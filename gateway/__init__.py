"""The branch telephone gateway."""
