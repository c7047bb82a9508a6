"""Tests against the world outside: whole programs of others, networks with NAT in between."""
