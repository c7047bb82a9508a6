"""``gatewayctl``: the commands that look at a gateway; others are in ``actions``, ``configuration`` and ``watch``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gateway.cli.gatewayctl import show
from gateway.cli.gatewayctl.actions import call_group, log_level, pardon, span_group, test_call
from gateway.cli.gatewayctl.client import ENVIRONMENT, Gateway, path_of
from gateway.cli.gatewayctl.configuration import config_group
from gateway.cli.gatewayctl.options import NameOf, Session, command
from gateway.cli.gatewayctl.watch import events, trace
from gateway.provision.bus.interface import ROOT
from gateway.provision.bus.objects import CALL, DIAGNOSTICS, MANAGER, NETWORK, PHONE, SPAN, TRUNK

HELP = (
    "Look at a running branch gateway, and change it, over D-Bus.\n\n"
    "Who may look is in the group gateway-viewer, who may change something in gateway-admin; root and the user that "
    "the gateway runs as may do both.\n\n"
    "\b\nExit status:\n"
    "  0  done\n"
    "  1  the gateway refused, or could not do it; the reason is on standard error\n"
    "  2  wrong arguments\n"
    "  3  no bus, or no gateway on it\n"
    "  4  access denied\n"
    "  5  done, but the result is not good: errors in a configuration, calls that\n"
    "     would drop, a test call without voice both ways"
)


@click.group(help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--bus",
    "address",
    metavar="ADDRESS",
    envvar=ENVIRONMENT,
    help=f"The bus, as unix:path=…; by default ${ENVIRONMENT}, .run/demo/bus of `make run` if we are where that is, "
    "and else the system bus.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.version_option(package_name="branch-gateway")
@click.pass_context
def main(context: click.Context, address: str | None, as_json: bool) -> None:
    """See HELP."""
    context.obj = Session(address, as_json)


@main.command()
@command
def status(session: Session) -> None:
    """The gateway on one screen: health, calls, phones, spans and trunks."""

    async def ask(gateway: Gateway) -> dict[str, list[show.Properties]]:
        return {name: [*found] for name, found in (await gateway.all_of(MANAGER, SPAN, TRUNK)).items()}

    found = session.run(ask)
    (manager,) = found[MANAGER.name]
    spans, trunks = found[SPAN.name], found[TRUNK.name]
    if session.json:
        shown = {each["Name"]: {"alarm": each["Alarm"], "data_link": each["DataLink"]} for each in spans}
        statuses = {each["Name"]: each["Status"] for each in trunks}
        show.as_json({**show.plain(manager), "spans": shown, "trunks": statuses})
    else:
        show.status(manager, spans, trunks)


@main.command()
@click.argument("name", required=False, type=NameOf(SPAN, "Name"))
@command
def spans(session: Session, name: str | None) -> None:
    """Lines: alarm, data link, channels, errors, and what to look for; with NAME each of its channels."""
    found = session.run(lambda gateway: gateway.every(SPAN))
    if name is not None:
        found = [session.run(lambda gateway: gateway.properties(path_of("spans", name), SPAN))]
    if session.json:
        show.as_json([show.plain(each) for each in found])
        return
    show.spans(found)
    if name is not None:
        show.channels(found[0])


@main.command()
@command
def trunks(session: Session) -> None:
    """Trunks as `sip show peers` has them, with round trip, registration and encryption."""
    _peers(session, session.run(lambda gateway: gateway.every(TRUNK)), "trunks")


@main.command()
@command
def phones(session: Session) -> None:
    """Phones: whether and where they are registered, and how they answer."""
    _peers(session, session.run(lambda gateway: gateway.every(PHONE)), "phones")


def _peers(session: Session, found: list[show.Properties] | list[dict[str, object]], what: str) -> None:
    if session.json:
        show.as_json([show.plain(each) for each in found])
    else:
        show.peers(found, what)


@main.command()
@command
def calls(session: Session) -> None:
    """Calls of this moment."""
    found = session.run(lambda gateway: gateway.every(CALL))
    if session.json:
        show.as_json([show.plain(each) for each in found])
    else:
        show.calls(sorted(found, key=lambda each: int(each["Started"])))


@main.command()
@command
def network(session: Session) -> None:
    """Our addresses, inside and outside, and where each came from."""
    found = session.run(lambda gateway: gateway.properties(f"{ROOT}/network", NETWORK))
    if session.json:
        show.as_json(show.plain(found))
    else:
        show.network(found)


@main.command()
@click.argument("context")
@click.argument("number")
@command
def explain(session: Session, context: str, number: str) -> None:
    """How NUMBER would be routed in CONTEXT, step by step, without calling it."""
    (steps,) = session.run(lambda gateway: gateway.call(f"{ROOT}/diagnostics", DIAGNOSTICS, "Explain", context, number))
    if session.json:
        show.as_json(steps)
    else:
        click.echo("\n".join(steps))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL needs to complete our commands.

    For bash: gatewayctl completion bash > /etc/bash_completion.d/gatewayctl
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(main, {}, "gatewayctl", "_GATEWAYCTL_COMPLETE").source())


for each in (call_group, span_group, config_group, test_call, pardon, log_level, trace, events):
    main.add_command(each)

if __name__ == "__main__":
    main(prog_name="gatewayctl")
