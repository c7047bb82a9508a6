"""Fuzz targets: whatever comes in, only the protocol's own error comes out. ``python -m tests.fuzz`` runs them."""
