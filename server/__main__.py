"""`python -m server`: serve with settings from the environment (`server.settings`). `omni serve` takes options."""

import logging
import os
import sys

from omni_core.errors import OmniError
from server.main import serve
from server.settings import Settings

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        serve(Settings.from_environment(os.environ))
    except OmniError as error:
        sys.exit(f"error: {error}")
