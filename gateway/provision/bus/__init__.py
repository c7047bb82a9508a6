"""The gateway on D-Bus: ``org.branchgateway.Gateway1``."""
