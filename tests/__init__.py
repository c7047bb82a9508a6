"""Tests; the drivers of real peers in ``tests.interop`` are also used by ``make run``."""
