"""How fast is the engine here, and how near to what the machine allows? One device, no sockets.

`random:nano` and `random:full` measure without weights: random ones of the bundled model's size and of the released one's.
"""

from omni_core.bench.agreement import Agreement, measure_agreement
from omni_core.bench.batches import BatchFigures, measure_batch
from omni_core.bench.floor import Machine, measure_machine
from omni_core.bench.parts import PartFigures, measure_parts
from omni_core.bench.users import UserFigures, measure_users

__all__ = [
    "Agreement",
    "BatchFigures",
    "Machine",
    "PartFigures",
    "UserFigures",
    "measure_agreement",
    "measure_batch",
    "measure_machine",
    "measure_parts",
    "measure_users",
]
