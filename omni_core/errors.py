"""The one tree of errors that omni_core raises.

Every message names the thing that is wrong and what to do about it. Wire error codes are not chosen here:
`server.protocol` maps these classes to them in one table.

    OmniError
    ├── InputError            what the caller sent can't be used
    │   ├── AudioError        unreadable, empty, wrong rate, NaN, too long
    │   ├── ImageError        unreadable picture
    │   ├── TextError         empty or over-long text
    │   └── TaskError         unknown task, or one that this model can't do
    ├── CheckpointError       missing, extra or misshapen tensors, unreadable files
    ├── ConfigError           unknown key, missing key, impossible value
    ├── DataError             training or evaluation data that can't be used: a missing file, an empty clip, a corrupt shard
    ├── TrainingError         a run that can't go on: a loss that isn't finite, a full disk
    └── EngineError           the engine can't serve the request
        ├── EngineBusy        no slot is free and the queue is full: try again
        └── EngineClosed      the engine has stopped or died
"""

from __future__ import annotations


class OmniError(Exception):
    """Anything omni_core raises on purpose."""


class InputError(OmniError):
    """What the caller sent can't be used."""


class AudioError(InputError):
    """Audio that can't be used: unreadable, empty, a rate of 0, NaN samples, too long."""


class ImageError(InputError):
    """A picture that can't be read."""


class TextError(InputError):
    """Text that can't be used."""


class TaskError(InputError):
    """An unknown task, or one that the loaded model can't do."""


class CheckpointError(OmniError):
    """A checkpoint whose files or tensors are not what its configuration says."""


class ConfigError(OmniError):
    """A configuration with an unknown key, a missing key or an impossible value."""


class DataError(OmniError):
    """Training or evaluation data that can't be used; the message names the file and the line or member."""


class TrainingError(OmniError):
    """A training run that can't go on."""


class EngineError(OmniError):
    """The engine can't serve a request."""


class EngineBusy(EngineError):
    """Every slot is taken and the queue is full: try again later."""


class EngineClosed(EngineError):
    """The engine has stopped or died."""
