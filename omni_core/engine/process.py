"""The engine as a process of its own: `python -m omni_core.engine.process SPEC LIFELINE`, started by `supervisor.engine_process`.

One thread has it all: the engine, and its clients between two steps (`port`). Another only says on the lifeline that the first still moves, and
ends the process when the parent has gone and the first does not notice.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from omni_core.engine.link import BEAT_S
from omni_core.engine.messages import Died
from omni_core.engine.port import Clients
from omni_core.engine.supervisor import EngineSpec, Lifeline
from omni_core.errors import OmniError

log = logging.getLogger(__name__)

_GRACE_S = 5.0  # for the engine to notice that the parent has gone


def _run(spec: EngineSpec, lifeline: Lifeline, ports: list[Clients]) -> None:
    from omni_core.engine.worker import as_exception, load_engine, serve  # seconds, in which the parent wants to hear of us

    engine = load_engine(spec.source, spec.device, spec.config, spec.threads)
    port = Clients(spec.address, lifeline.fileno())
    ports.append(port)
    lifeline.ready(engine.info.model)
    try:
        serve(engine, port)
        port.publish(Died(None))
    except BaseException as error:
        port.publish(Died(as_exception(error)))
        raise
    finally:
        port.close()


def main() -> int:
    """Serve until the lifeline's other end closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach a whole terminal, or a whole service; the parent ends us in its order
        signal.signal(number, signal.SIG_IGN)
    spec, lifeline = msgspec.json.decode(sys.argv[1], type=EngineSpec), Lifeline(int(sys.argv[2]))
    ports: list[Clients] = []  # none while it loads, which may take any time

    def leave() -> None:
        if select.select([lifeline], [], [], 0)[0]:  # there is no further life, and perhaps nobody else to clean up
            shutil.rmtree(Path(spec.address.removeprefix("ipc://")).parent, ignore_errors=True)

    def watch() -> None:
        while not select.select([lifeline], [], [], BEAT_S)[0]:
            if all(port.moves() for port in ports):
                lifeline.beat()
        time.sleep(_GRACE_S)  # the engine's time to notice; it may be loading, or stand still
        leave()
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    logging.basicConfig(level=spec.log_level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        _run(spec, lifeline, ports)
    except BaseException as error:
        if not isinstance(error, OmniError):
            log.error("the engine stopped", exc_info=error)
        lifeline.failed(error)
        return 1
    finally:
        leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
