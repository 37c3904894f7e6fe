"""Scripted full-duplex conversations over the wire, at the pace of speech, and what is measured in them. See `docs/duplex.md`."""
