"""``python -m gateway.cli.gatewayctl.manpage`` prints gatewayctl(1), made of what ``--help`` says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from gateway.cli.gatewayctl.main import main

_MARK = "\b"


def roff(text: str) -> str:
    """``text`` as roff takes it literally."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in shown.split("\n"))


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; those that are set line by line stay so."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = paragraph.split("\n")
        if lines[0].strip() == _MARK:
            yield ".nf\n" + roff("\n".join(lines[1:])) + "\n.fi"
        else:
            yield roff(" ".join(line.strip() for line in lines))


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join((*parameter.opts, *parameter.secondary_opts))
            value = "" if parameter.is_flag else f" \\fI{parameter.human_readable_name.upper()}\\fR"
            yield f".TP\n\\fB{roff(names)}\\fR{value}\n{roff(parameter.help or '')}"


def _commands(command: click.Command, name: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        if name:
            yield f".SS {roff(name)}"
            yield "\n.PP\n".join(paragraphs(command.help or ""))
        for each in sorted(command.commands):
            yield from _commands(command.commands[each], f"{name} {each}".strip())
        return
    arguments = " ".join(
        f"[{one.human_readable_name.upper()}]" if not one.required else one.human_readable_name.upper()
        for one in command.params
        if isinstance(one, click.Argument)
    )
    yield f".TP\n\\fB{roff(name)}\\fR {roff(arguments)}".rstrip()
    yield "\n.sp\n".join(paragraphs(command.help or ""))
    options = [each for each in _options(command) if "\\-\\-json" not in each]
    if options:
        yield ".RS\n" + "\n".join(options) + "\n.RE"


def page() -> str:
    """The whole page."""
    description, status = (main.help or "").split("\b\nExit status:\n")
    parts = [
        '.TH GATEWAYCTL 1 "" "Branch Gateway" "User Commands"',
        ".SH NAME",
        roff("gatewayctl - look at a running branch gateway, and change it"),
        ".SH SYNOPSIS",
        ".B gatewayctl",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        "\n.PP\n".join(paragraphs(description)),
        ".SH OPTIONS",
        *_options(main),
        ".SH COMMANDS",
        roff("Each of them takes --json as well."),
        *_commands(main, ""),
        ".SH EXIT STATUS",
        ".nf",
        roff(status.rstrip("\n")),
        ".fi",
        ".SH ENVIRONMENT",
        ".TP\n\\fBGATEWAY_BUS\\fR\nThe address of the bus, as with \\fB\\-\\-bus\\fR.",
        ".SH SEE ALSO",
        ".BR busctl (1)",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    click.echo(page(), nl=False)
