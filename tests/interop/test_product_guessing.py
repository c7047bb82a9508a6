"""SIPVicious at the door: it finds no user and no password, and is soon not heard any more; who knows, gets in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.program import find_program
from tests.interop.scenario import scenario

ATTACKER = "127.0.0.1"
PACKAGE = "sipvicious"
SECONDS = 120.0
PASSWORD = "branch-of-the-bank"  # noqa: S105 - of this test's phone 400
PHONES = """\
[[phone]]
name = "200"
secret = "347"
context = "from-hq"
[[phone]]
name = "300"
secret = "correct horse battery"
context = "from-hq"
[[phone]]
name = "400"
secret = "branch-of-the-bank"
context = "from-hq"
"""


class Elsewhere(Product):
    """A product whose trunk is not where the attacks come from: sipvicious binds to no address."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, far_host="127.0.0.9", sip='auth_algorithms = ["md5"]', extra=PHONES)


async def attack(product: Product, tool: str, *words: str) -> str:
    """What ``tool`` prints until it gives up."""
    program = find_program(tool, PACKAGE)
    process = await asyncio.create_subprocess_exec(
        str(program),
        *words,
        f"udp://127.0.0.1:{product.sip_port}" if tool != "svmap" else "127.0.0.1",
        *(("-p", str(product.sip_port)) if tool == "svmap" else ("--maximumtime=3",)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(product.directory)},
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode("utf-8", "replace")


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
@scenario
async def test_svwar_finds_no_user(tmp_path: Path, method: str) -> None:
    async with Elsewhere(tmp_path) as product:
        printed = await attack(product, "svwar", "-e", "190-310", "-m", method, "--force", "-t", "0.005")
    for user in ("200", "300"):
        assert f"| {user} " not in printed, printed


@scenario
async def test_svcrack_finds_no_password_and_is_shut_out(tmp_path: Path) -> None:
    async with Elsewhere(tmp_path) as product:
        printed = await attack(product, "svcrack", "-u", "200", "-r", "100-999", "-t", "0.005")
        told = f"{ATTACKER} guesses users or passwords: it is not heard for 60 s"
        await product.until(lambda _: told in product.log, "that it is shut out")
    assert "347" not in printed, printed


@scenario
async def test_svmap_learns_no_more_than_that_there_is_a_gateway(tmp_path: Path) -> None:
    async with Elsewhere(tmp_path) as product:
        # It waits for an answer for a few seconds; who is held up for so long by a busy machine is asked again.
        for _ in range(3):
            printed = await attack(product, "svmap")
            if "127.0.0.1:" in printed:
                break
    assert f"127.0.0.1:{product.sip_port} | unknown" in printed, printed


@scenario
async def test_a_telephone_beside_who_guesses_is_heard_all_the_time(tmp_path: Path) -> None:
    async with (
        Elsewhere(tmp_path) as product,
        await Baresip.start(
            tmp_path / "phone", user="400", registrar=f"127.0.0.1:{product.sip_port}", secret=PASSWORD
        ) as phone,
    ):
        await product.until(lambda status: bool(status["registered"].get("400")), "its registration")
        printed = await attack(product, "svcrack", "-u", "200", "-r", "100-999", "-t", "0.005")
        await phone.dial(f"sip:95550107@127.0.0.1:{product.sip_port}")
        await phone.hears(1004)
        await phone.hang_up()
        await product.until_idle()
        log = product.log
    assert "347" not in printed, printed
    assert "it is not heard for" not in log
