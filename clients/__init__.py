"""The people's side: the `omni` command, a Python client, and the spoken questions of the demo."""
