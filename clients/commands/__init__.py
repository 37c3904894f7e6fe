"""One module per command of `omni`: `add(commands)` declares it, `run(args)` does it and returns the exit status."""

from clients.commands import demo, talk

COMMANDS = (demo, talk)
