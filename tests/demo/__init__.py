"""``make run``: the product at work on one machine, seen from outside."""
