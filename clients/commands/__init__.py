"""One module per command of `omni`: `add(commands)` declares it, `run(args)` does it and returns the exit status."""

from clients.commands import bench, check, convert, data, demo, evaluate, infer, load, serve, talk, train

COMMANDS = (demo, serve, talk, infer, bench, load, evaluate, check, convert, data, train)
