"""Many scripted users at once over real WebSockets, and what is measured in them. See `docs/load.md`."""
