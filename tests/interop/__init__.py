"""Interoperability: the real programs of others that the product talks to in tests, and their drivers."""
