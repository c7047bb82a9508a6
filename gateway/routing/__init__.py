"""Where a call goes: dial plan, patterns, trunk groups."""
