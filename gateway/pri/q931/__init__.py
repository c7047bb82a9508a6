"""Q.931, the network layer of the D channel: codec (message, ie, contents) and call control."""
