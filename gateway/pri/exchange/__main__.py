"""``python -m gateway.pri.exchange``."""

from gateway.pri.exchange.main import main

main(prog_name="exchange")
