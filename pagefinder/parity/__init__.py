"""Golden cases beside a released model, and what differs where another server answers otherwise."""
