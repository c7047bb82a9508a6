"""The configuration file: typed model, reading, checking."""
