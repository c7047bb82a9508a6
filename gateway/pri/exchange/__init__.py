"""The simulated telephone company at the far end of a span: the same cores as the gateway's, in the network's role."""
