"""The language model: backbone, adapters, joint head, key-value cache and sampling."""

from omni_core.models.ending import EndOfTurn
from omni_core.models.kv_cache import KVCache
from omni_core.models.omni import OmniModel
from omni_core.models.sampling import Sampling, greedy, sample

__all__ = ["EndOfTurn", "KVCache", "OmniModel", "Sampling", "greedy", "sample"]
