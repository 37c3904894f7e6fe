"""The wire: client events in, server events out. Pure: no clock, no socket, no model."""
