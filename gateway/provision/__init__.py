"""What the box finds out about where it stands, and how it is set up."""
