"""Examples of the language model on the device: laid out once by all cores, heard anew each time.

A pool of examples is drawn as `source.SkillSource` draws them, but for the sound: of that only the clip and its length are settled. Every pass over
the pool distorts the clips anew and encodes them with the frozen ear. Pictures are encoded once. The pool is kept in a file, so that it can be made
beside other work.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from omni_core.datagen.skills import SKILLS
from omni_core.datagen.speech import OPEN, SpeechSet
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.errors import ConfigError, TrainingError
from omni_core.tokens import TokenLayout
from omni_core.tokens.prompts import IMAGE_FRAMES
from omni_core.training.dataset import IGNORE, Batch, Example, lay_out
from omni_core.training.prefetch import batches
from omni_core.training.resident.bank import joined
from omni_core.training.resident.hearing import Hearing, Plan, plan
from omni_core.training.senses import ChunkedEar, Eye
from omni_core.training.settings import autocast, generator_of
from omni_core.training.source import Change, Senses, SkillSource

_CHUNK = 1000  # examples that one process lays out at a time
_NOWHERE = -1
_NOTHING = torch.zeros(0, dtype=torch.float16)


@dataclass(frozen=True)
class ResidentConfig:
    """A stage's `resident`."""

    examples: int  #: of the pool
    pool: str  #: the file it is kept in
    workers: int  #: processes that lay them out; 0: in place


class UnheardSource(SkillSource):
    """Examples whose `heard` is a clip's place in the bank and its plan, [4] float64."""

    lengths: NDArray[np.int64]  #: of the bank's clips
    firsts: dict[str, int]  #: where each set begins in the bank

    def heard(self, name: str, index: int, rng: np.random.Generator, change: Change | None = None) -> tuple[Tensor, int]:
        planned = plan(self.lengths, np.array([self.firsts[name] + index]), rng)
        values = (planned.clips[0], planned.before[0], planned.samples[0], planned.stretch[0])
        return torch.tensor(values, dtype=torch.float64), int(planned.features[0])


@dataclass(frozen=True, eq=False)
class _Packed:
    """Laid out examples one after the other; of N examples with T positions in all."""

    tokens: Tensor  #: [8, T] int16 global ids
    targets: Tensor  #: [8, T] int16
    about: Tensor  #: [N, 4] int64: positions, where the audio is, its features, where the picture is; _NOWHERE
    plans: Tensor  #: [N, 4] float64, zeros without audio
    seen: Tensor  #: [P, ...] float16, of those that see: pixels, or features [P, 50, width]


class ResidentExamples:
    """Batches of `size` examples of a step; they depend on the seed, the step and the size of the pool."""

    def __init__(
        self,
        speech: Path,
        senses: Senses,
        layout: TokenLayout,
        config: ResidentConfig,
        open_source: Callable[[], UnheardSource],
        what: str,
        seed: int,
        device: torch.device,
        precision: str,
    ) -> None:
        """speech: the folder of clips. open_source: what examples are drawn from, asked only where the file of the pool isn't there yet, or is of
        something else than `what`. Raises ConfigError for a model whose ear can't hear batches of log-mels.
        """
        if not isinstance(senses.ear, ChunkedEar):
            raise ConfigError("resident: only a model with a chunked audio encoder hears on the device")
        if layout.rows > np.iinfo(np.int16).max:
            raise ConfigError(f"resident: {layout.rows} rows of tokens are too many for 16 bits")
        self.encoder: ChunkedEncoder = senses.ear.encoder
        self.layout, self.seed, self.device, self.precision = layout, seed, device, precision
        sets = {name: SpeechSet(speech, name) for name in (OPEN, *SKILLS)}
        bank, starts = joined(list(sets.values()), device, "speech")
        self.hearing = Hearing(bank, len(sets[OPEN]), self.encoder.config.mels, seed)
        what = hashlib.blake2b(f"{what} {bank.lengths.tolist()}".encode(), digest_size=16).hexdigest()
        packed = _read(Path(config.pool), what)
        if packed is None:
            source = open_source()
            source.lengths, source.firsts = bank.lengths, dict(zip(sets, starts, strict=False))
            packed = self._made(source, config, senses.eye)
            _write(Path(config.pool), what, packed)
        self._tokens, self._targets, self._seen = (part.to(device) for part in (packed.tokens, packed.targets, packed.seen))
        self.lengths, self._audio_at, self._features, self._image_at = packed.about.numpy().T
        self._starts = np.cumsum(self.lengths) - self.lengths
        plans = packed.plans.numpy()
        clips, before, samples = plans[:, :3].astype(np.int64).T
        self._plans = Plan(clips, before, samples, plans[:, 3].astype(np.float32))
        self._pictures = np.cumsum(self._image_at != _NOWHERE) - 1

    def _made(self, source: UnheardSource, config: ResidentConfig, eye: Eye | None) -> _Packed:
        count = -(-config.examples // _CHUNK)
        chunks = batches(lambda number: _pack(self.layout, source.examples(_CHUNK, number)), 0, count, config.workers)
        parts = []
        for part in tqdm(chunks, total=count, desc="examples", unit=f"x {_CHUNK}", dynamic_ncols=True, mininterval=2.0):
            if eye is not None and len(part.seen):
                part = dataclasses.replace(part, seen=eye.features(list(part.seen.float())).half().cpu())
            parts.append(part)
        looked = [part.seen for part in parts if len(part.seen)]
        return _Packed(
            torch.cat([part.tokens for part in parts], dim=1),
            torch.cat([part.targets for part in parts], dim=1),
            torch.cat([part.about for part in parts]),
            torch.cat([part.plans for part in parts]),
            torch.cat(looked) if looked else _NOTHING,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self, step: int, size: int, passes: int) -> list[Batch]:
        """The examples of step `step` in `passes` batches of about equal work, long sequences apart from short ones."""
        per_epoch = max(1, len(self) // size)
        epoch, place = divmod(step, per_epoch)
        chosen = np.random.default_rng((self.seed, epoch)).permutation(len(self))[place * size : (place + 1) * size]
        chosen = chosen[np.argsort(self.lengths[chosen], kind="stable")]
        done = np.cumsum(self.lengths[chosen])
        cuts = np.searchsorted(done, done[-1] * np.arange(1, passes) / passes)
        generator = generator_of(self.device, self.seed, step)
        return [self._batch(part, generator) for part in np.split(chosen, cuts) if len(part)]

    def _batch(self, chosen: NDArray[np.int64], generator: torch.Generator) -> Batch:
        lengths = self.hearing.bank.at(self.lengths[chosen])
        places = torch.arange(int(self.lengths[chosen].max()), device=self.device)
        real = places < lengths[:, None]  # [B, T]
        at = torch.where(real, places + self.hearing.bank.at(self._starts[chosen])[:, None], 0)
        tokens = torch.where(real, self._tokens[:, at].long(), self.layout.pad_t).transpose(0, 1)
        targets = torch.where(real, self._targets[:, at].long(), IGNORE).transpose(0, 1)
        hearing, seeing = (np.flatnonzero(where[chosen] != _NOWHERE) for where in (self._audio_at, self._image_at))
        spans = np.stack([hearing, self._audio_at[chosen[hearing]], self._features[chosen[hearing]]], axis=1)
        shown = np.stack([seeing, self._image_at[chosen[seeing]], np.full(len(seeing), IMAGE_FRAMES)], axis=1)
        heard: Tensor | list[Tensor] = []
        if len(hearing):
            mel, features = self.hearing.mels(self._plans[chosen[hearing]], generator)
            with torch.no_grad(), autocast(self.device, self.precision):
                heard = self.encoder(mel, features)
        seen: Tensor | list[Tensor] = self._seen[self.hearing.bank.at(self._pictures[chosen[seeing]])].float() if len(seeing) else []
        return Batch(tokens, targets, heard, self.hearing.bank.at(spans), seen, self.hearing.bank.at(shown), [])


def _pack(layout: TokenLayout, examples: Sequence[Example]) -> _Packed:
    laid = [lay_out(layout, example) for example in examples]
    about, plans, seen = [], [], []
    for item, example in zip(laid, examples, strict=True):
        places = (item.audio_at, example.frames, item.image_at)
        about.append((item.tokens.shape[1], *(_NOWHERE if place is None else place for place in places)))
        plans.append(torch.zeros(4, dtype=torch.float64) if example.heard is None else example.heard)
        if example.seen is not None:
            seen.append(example.seen.half())
    pixels = torch.stack(seen) if seen else _NOTHING
    return _Packed(_joined([item.tokens for item in laid]), _joined([item.targets for item in laid]), torch.tensor(about), torch.stack(plans), pixels)


def _joined(parts: Sequence[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.int16))


def _read(path: Path, what: str) -> _Packed | None:
    if not path.is_file():
        return None
    kept = torch.load(path, weights_only=True, mmap=True)
    return _Packed(**kept["examples"]) if kept["made_of"] == what else None


def _write(path: Path, what: str, packed: _Packed) -> None:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"made_of": what, "examples": {field.name: getattr(packed, field.name) for field in dataclasses.fields(packed)}}, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        part.unlink(missing_ok=True)
        raise TrainingError(f"{path}: the examples can't be kept ({error}): make room") from error
