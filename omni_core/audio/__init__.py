"""Sound as numbers: PCM bytes, files, resampling and speech probability. Knows no model, no session and no clock."""

from omni_core.audio.echo import EchoGuard
from omni_core.audio.pcm import check_samples, from_s16le, read_audio, to_s16le, write_wav
from omni_core.audio.resample import Resampler, resample
from omni_core.audio.vad import VoiceActivity

__all__ = ["EchoGuard", "Resampler", "VoiceActivity", "check_samples", "from_s16le", "read_audio", "resample", "to_s16le", "write_wav"]
