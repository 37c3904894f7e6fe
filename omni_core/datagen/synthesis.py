"""Text to waveform through the espeak-ng and flite programs.

Owns the calls of the two binaries and the levelling of what they say. Doesn't own which voice says what: see `voices` and `speech`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from omni_core.datagen.voices import ESPEAK, FLITE, Voice
from omni_core.errors import OmniError

SAMPLE_RATE = 16_000
TIMEOUT_S = 20.0
LEVEL_RMS = 0.08
_PEAK = 0.95
_QUIET = 0.01  # of the clip's peak: what counts as silence at its ends
_MARGIN_S = 0.03
_WAV_HEADER = 44  # bytes


class SynthesisError(OmniError):
    """A text-to-speech program is missing, failed, or said nothing."""


def speak(text: str, voice: Voice, seed: int = 0) -> np.ndarray:
    """`text` in `voice`: float32 [N] at 16 kHz, silence trimmed from both ends, at an RMS level of 0.08 and peaks below 1.

    The same arguments give the same samples: `seed` settles what the voice leaves open. Raises SynthesisError when the
    program is missing, fails, takes over 20 s, or is silent.
    """
    voice = voice.settled(np.random.default_rng(seed))
    wave, rate = _espeak(text, voice) if voice.engine == ESPEAK else _flite(text, voice)
    tract = 1.0 if voice.tract is None else voice.tract
    if wave.size:
        # Read the samples `tract` times faster: formants, pitch and tempo rise together; _flite asked for the inverse of the last two.
        wave = soxr.resample(wave, rate * tract, SAMPLE_RATE)
    return level(trim(wave, f"{voice.name} saying {text!r}")).astype(np.float32)


def speak_all(jobs: Iterable[tuple[str, Voice, int]], workers: int | None = None) -> Iterator[np.ndarray]:
    """`speak` for every (text, voice, seed), in order, `workers` (default: one a core) programs at a time."""
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(lambda job: speak(*job), jobs)


def trim(wave: np.ndarray, what: str = "clip") -> np.ndarray:
    """`wave` [N] at 16 kHz without the silence at its ends, but for 30 ms. Raises SynthesisError when nothing is left."""
    loud = np.flatnonzero(np.abs(wave) > _QUIET * np.abs(wave).max(initial=0.0))
    if not loud.size:
        raise SynthesisError(f"{what}: the program made no sound; check the text and that the voice is installed")
    margin = int(_MARGIN_S * SAMPLE_RATE)
    return wave[max(0, loud[0] - margin) : loud[-1] + 1 + margin]


def level(wave: np.ndarray, rms: float = LEVEL_RMS) -> np.ndarray:
    """`wave` [N] scaled to RMS `rms`, less where its peak would pass 0.95."""
    scale = rms / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-6)
    return wave * min(scale, _PEAK / max(float(np.abs(wave).max()), 1e-6))


def _espeak(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    name = f"{voice.accent}+{voice.speaker}" if voice.speaker else voice.accent
    settings = ["-v", name, "-s", f"{voice.rate:.0f}", "-p", f"{voice.pitch:.0f}"]
    wav = _call(["espeak-ng", *settings, "--stdout", "--stdin"], text)  # its header gives no length: the samples go on to the end
    if wav[:4] != b"RIFF" or wav[36:40] != b"data":
        raise SynthesisError(f"espeak-ng wrote no audio for voice {voice.name!r} saying {text!r}")
    samples = np.frombuffer(wav, "<i2", offset=_WAV_HEADER, count=(len(wav) - _WAV_HEADER) // 2)
    return samples.astype(np.float32) / 32768, int.from_bytes(wav[24:28], "little")


def _flite(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    tract = voice.tract or 1.0
    settings = {}
    if voice.rate:
        settings["duration_stretch"] = voice.rate * tract
    if voice.pitch:
        settings["int_f0_target_mean"] = voice.pitch / tract
    with tempfile.TemporaryDirectory(prefix="omni-speech-") as folder:
        path, words = Path(folder) / "speech.wav", Path(folder) / "words.txt"
        words.write_text(text + "\n")  # without it flite drops a last sentence of one word
        options = [part for key, value in settings.items() for part in ("--setf", f"{key}={value:.4f}")]
        _call(["flite", "-voice", voice.speaker, *options, "-f", str(words), "-o", str(path)])
        return _read(path, voice)


def _read(path: Path, voice: Voice) -> tuple[np.ndarray, int]:
    try:
        wave, rate = soundfile.read(path, dtype="float32")
    except (soundfile.LibsndfileError, OSError) as error:
        raise SynthesisError(f"{voice.engine} wrote no audio for voice {voice.name!r}: {error}") from error
    return wave, rate


def _call(command: list[str], text: str = "") -> bytes:
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise SynthesisError(f"{command[0]} is not installed: apt-get install {ESPEAK} {FLITE}") from error
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(f"{command[0]} took longer than {TIMEOUT_S:.0f} s: {' '.join(command)}") from error
    if done.returncode:
        raise SynthesisError(f"{' '.join(command)} failed ({done.returncode}): {done.stderr.decode(errors='replace').strip()[:300]}")
    return done.stdout
