"""Tests of the image: its boot loader, its rescue stage and its disk."""
