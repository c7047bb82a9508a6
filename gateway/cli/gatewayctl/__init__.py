"""``gatewayctl``: a running gateway from the command line, on its D-Bus interface alone."""
