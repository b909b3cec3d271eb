"""The outside world: each wire format, folder layout and credential behind one small protocol."""
