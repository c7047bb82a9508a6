"""``python -m gateway``."""

from gateway.daemon import main

main(prog_name="gateway")
