"""The configuration file: typed model, reading, checking."""

from gateway.config.file import check, examine, load, parse, read_text
from gateway.config.model import Configuration
from gateway.config.problems import ConfigError, Problem, Severity

__all__ = ["ConfigError", "Configuration", "Problem", "Severity", "check", "examine", "load", "parse", "read_text"]
