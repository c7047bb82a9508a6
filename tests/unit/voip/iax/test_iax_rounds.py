"""Calls that two sites send to each other end after a few legs, and nobody is taken for somebody else."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import Leg, LegEvent, Offered, Released, Setup
from gateway.voip.iax import new_contents
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import IaxSettings
from gateway.voip.iax.rounds import (
    MAX_ALIKE,
    MAX_HOPS,
    MAX_PASSES,
    MAX_RENAMED,
    Pass,
    Rounds,
    add_variables,
    read_variables,
)
from tests.unit.voip.iax.iax_scene import Notes, Scene, simple_setup


class Circle(Scene):
    """Two sites whose routes send every number to each other, maybe as another one."""

    def __init__(self, rewrite: Callable[[str], str] = lambda digits: digits) -> None:
        super().__init__(whole=lambda _owner, settings: with_emergency(settings))
        self._rewrite = rewrite
        for name, other in (("a", "b"), ("b", "a")):
            self._send_back(name, other)

    def _send_back(self, name: str, other: str) -> None:
        agent = self[name]

        def on_offer(leg: IaxLeg, offered: Offered, notes: Notes, now: int) -> None:
            setup = offered.setup
            setup = replace(setup, called=Number(self._rewrite(setup.called.digits)))
            out = agent.endpoint.new_leg(other, now, emergency=setup.emergency)
            assert isinstance(out, IaxLeg)

            def over(_leg: Leg, event: LegEvent, now: int) -> None:
                if isinstance(event, Released):
                    leg.release(event.cause, now)

            def gone(_leg: Leg, event: LegEvent, now: int) -> None:
                if isinstance(event, Released):
                    out.release(event.cause, now)

            out.listener = Notes(react=over)
            notes.react = gone
            out.place(setup, now)

        agent.on_offer = on_offer

    @property
    def legs(self) -> int:
        return len(self["a"].offers) + len(self["b"].offers)


def with_emergency(settings: IaxSettings) -> IaxSettings:
    return replace(settings, emergency=frozenset({"112"}))


def test_call_that_goes_round_ends_after_a_few_legs_with_cause_25(caplog: pytest.LogCaptureFixture) -> None:
    scene = Circle()
    with caplog.at_level(logging.WARNING):
        _, notes = scene.place()
        scene.run(30, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert notes.released.cause is Cause.EXCHANGE_ROUTING_ERROR
    assert scene.legs == 2 * MAX_PASSES, scene.legs
    told = [record.getMessage() for record in caplog.records if "goes round" in record.getMessage()]
    assert len(told) == 1
    assert "a call to 4165551234 of 2125550000 goes round between trunk a and us" in told[0]
    assert scene["b"].not_offered[-1].cause is Cause.EXCHANGE_ROUTING_ERROR
    scene.assert_clean()
    assert not any(len(agent.endpoint.rounds) for agent in scene.agents)


def test_call_that_gets_another_number_at_each_turn_ends_by_its_hops(caplog: pytest.LogCaptureFixture) -> None:
    scene = Circle(rewrite=lambda digits: digits + "1")
    with caplog.at_level(logging.WARNING):
        _, notes = scene.place(simple_setup("5"))
        scene.run(30, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert notes.released.cause is Cause.EXCHANGE_ROUTING_ERROR
    assert scene.legs == MAX_HOPS + 1
    assert "it has taken as many hops as a call may" in caplog.text
    scene.assert_clean()


def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """NEW as far ends write it that know nothing of ours."""
    monkeypatch.setattr(new_contents, "add_variables", lambda _elements, _setup: None)


def test_call_of_far_ends_without_variables_is_known_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    without_variables(monkeypatch)
    scene = Circle()
    _, notes = scene.place()
    scene.run(30, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert notes.released.cause is Cause.EXCHANGE_ROUTING_ERROR
    assert scene.legs == 2 * MAX_ALIKE
    scene.assert_clean()


def test_call_that_gets_another_name_and_all_its_hops_at_each_turn_is_known_by_its_numbers() -> None:
    rounds = Rounds()
    came = Pass("hq", True, "5551234", "2125550000", "")
    back = came._replace(incoming=False)
    for turn in range(MAX_RENAMED):
        assert not rounds.had(came._replace(identity=f"name{turn}"))
        rounds.enter(came._replace(identity=f"name{turn}"))
        # Others that stay here are no reason.
        assert not rounds.had(came._replace(identity="another"))
        rounds.enter(back)
    assert rounds.had(came._replace(identity="another")) == MAX_RENAMED
    assert not rounds.had(came._replace(identity="another", caller="2125550001"))
    for turn in range(MAX_RENAMED):
        rounds.leave(came._replace(identity=f"name{turn}"))
        rounds.leave(back)
    assert not len(rounds)


def test_call_for_help_that_goes_round_ends_by_its_hops_alone_and_may_go_another_way() -> None:
    scene = Circle()
    _, notes = scene.place(simple_setup("112"))
    scene.run(30, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert notes.released.cause is Cause.NO_CIRCUIT_AVAILABLE
    assert scene.legs == MAX_HOPS + 1
    scene.assert_clean()


@pytest.mark.parametrize("called", ["112", "4165551234"])
@pytest.mark.parametrize("variables", [True, False])
def test_same_caller_may_call_the_same_number_many_times_at_once(
    called: str, variables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not variables:
        without_variables(monkeypatch)
    scene = Scene(whole=lambda _owner, settings: with_emergency(settings))
    every = [scene.place(simple_setup(called))[1] for _ in range(4 * MAX_ALIKE)]
    scene.run(5)
    assert len(scene["b"].offers) == 4 * MAX_ALIKE
    assert all(notes.released is None for notes in every)


def test_call_that_is_tried_again_while_its_first_try_still_stands_comes_in() -> None:
    scene = Scene()
    setup = replace(simple_setup(), identity="77")
    scene.place(setup)
    scene.run(1)
    scene.place(setup)
    scene.run(1)
    assert len(scene["b"].offers) == 2


@pytest.mark.parametrize(("hops", "sent"), [(None, MAX_HOPS), (70, MAX_HOPS), (3, 2), (1, 0)])
def test_new_has_one_hop_less_than_the_call_came_with(hops: int | None, sent: int) -> None:
    elements = Elements()
    add_variables(elements, Setup(Number("1"), Party(), hops=hops, identity="7f"))
    assert read_variables(Elements.parse(bytes(elements))) == (sent, "7f")


@pytest.mark.parametrize(
    "text",
    ["MAX_FORWARDS", "MAX_FORWARDS=", "MAX_FORWARDS=-1", "MAX_FORWARDS=1000", "MAX_FORWARDS=\u00b2", "CALL_ID=%"],
)
def test_variable_that_makes_no_sense_is_passed_over(text: str) -> None:
    assert read_variables(Elements().add_text(Ie.VARIABLE, text)) == (None, "")


def test_fewest_hops_count_where_a_far_end_hands_on_what_it_got() -> None:
    elements = Elements().add_text(Ie.VARIABLE, "MAX_FORWARDS=9").add_text(Ie.VARIABLE, "MAX_FORWARDS=4")
    assert read_variables(elements)[0] == 4
