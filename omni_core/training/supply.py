"""What a stage is fed: the data of its configuration, opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from omni_core.audio import resample
from omni_core.checkpoint import Bundle
from omni_core.codec import Codec
from omni_core.datagen.answers import AnswerSet
from omni_core.datagen.manifest import Item, read_manifest
from omni_core.datagen.scenes import SCENES
from omni_core.datagen.shards import ShardSet
from omni_core.datagen.speech import OPEN
from omni_core.errors import CheckpointError, ConfigError
from omni_core.tokens import Task, history_ids
from omni_core.training.codes import answer_codes
from omni_core.training.dataset import Example
from omni_core.training.listening import ListenerSource, code_scenes
from omni_core.training.recordings import RecordingSource
from omni_core.training.senses import Eye, ear_of
from omni_core.training.source import Senses, SkillSource, Source

_SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from: nano's skills, or people's own recordings."""

    folder: str = "data"  #: made by `omni data`: speech/, answers/, test/
    skills: dict | None = None  #: skill -> share of the examples
    written: dict | None = None  #: skill -> share where question and answer are text, the cheapest to learn from; None: as `skills` says
    recordings: list | None = None  #: JSONL manifests, and Parquet files of the VoiceAssistant-400K schema
    skip_bad: bool = False  #: of recordings: leave out and count what can't be read, in place of stopping
    validation: int = 200  #: held-out questions of `test/` that are asked at each validation


@dataclass(frozen=True)
class ListeningConfig:
    """The listener's share of stage 3."""

    scenes: str  #: coded scenes, made by `omni data scenes`
    frames: int  #: of a sequence: at least three bands
    band_frames: int  #: newest frames that attention sees, in training as in serving
    margin: float  #: by which irq must win in serving
    batch: int  #: sequences a step
    weight: float  #: of its loss beside the answers'


def senses_of(bundle: Bundle, device: torch.device) -> Senses:
    """How `bundle` hears and sees, frozen, on `device`. Raises CheckpointError where it can't hear or read."""
    for part in (bundle.audio_encoder, bundle.vision_encoder):
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False).eval().to(device)
    if bundle.tokenizer is None or bundle.audio_encoder is None:
        raise CheckpointError(f"{bundle.name}: training needs a tokenizer and an audio encoder beside the model")
    return Senses(bundle.tokenizer, ear_of(bundle.audio_encoder), None if bundle.vision_encoder is None else Eye(bundle.vision_encoder))


def open_source(
    config: DataConfig,
    senses: Senses,
    codec: Codec | None,
    tasks: dict[str, float],
    seed: int,
    memory_turns: int,
    kind: type[SkillSource] = SkillSource,
) -> Source:
    """The examples that `config` names; those of skills by a source of `kind`. Raises ConfigError, and DataError for what is missing or broken."""
    speaks = any(Task(name).speaks for name in tasks)
    if speaks and codec is None:
        raise ConfigError("tasks: spoken answers need a model with a codec")
    if (config.skills is None) == (config.recordings is None):
        raise ConfigError("data: give exactly one of skills and recordings")
    if config.recordings is not None:
        return RecordingSource([Path(name) for name in config.recordings], senses, codec, tasks, seed, skip_bad=config.skip_bad)
    folder = Path(config.folder)
    frames = answer_codes(AnswerSet(folder / "answers"), codec, folder / "answers") if speaks and codec is not None else {}
    return kind(folder, senses, frames, tasks, config.skills or {}, seed, written=config.written, memory_turns=memory_turns)


def open_listening(config: ListeningConfig, bundle: Bundle, seed: int) -> ListenerSource:
    """The listener's scenes, through the model's codec. Raises DataError when there are none, ConfigError without a codec."""
    if bundle.codec is None:
        raise ConfigError("listening: the listener hears through the codec: use a model with one")
    folder = Path(config.scenes)
    scenes = code_scenes(ShardSet(folder, SCENES), bundle.codec, folder / "codes.npz")
    return ListenerSource(scenes, bundle.model.layout, config.batch, config.frames, seed)


def open_validation(config: DataConfig, senses: Senses, memory_turns: int) -> list[Example]:
    """Held-out questions as text tasks, every n-th of the clean ones of the test set; empty when there is none."""
    manifest = Path(config.folder) / "test" / "manifest.jsonl"
    if not manifest.is_file() or not config.validation:
        return []
    items = [item for item in read_manifest(manifest) if item.condition in ("clean", "") and item.group in ("espeak", "")]
    if senses.eye is None:
        items = [item for item in items if item.image is None]
    places = np.linspace(0, len(items), min(config.validation, len(items)), endpoint=False).astype(int)
    return [_held_out(items[place], senses, memory_turns) for place in places]


def _held_out(item: Item, senses: Senses, memory_turns: int) -> Example:
    heard, frames, seen, typed = None, 0, None, ()
    if item.audio is not None:
        heard, frames = senses.ear.prepare(resample(*item.wave(), _SAMPLE_RATE), None)
    else:
        typed = senses.tokenizer.encode(item.question)
    if item.image is not None and senses.eye is not None:
        seen = senses.eye.prepare(np.asarray(Image.open(item.image).convert("RGB")))
    name = ("V" if seen is not None else "") + ("A1" if heard is not None else "T1") + ("T1" if item.skill == OPEN else "T2")
    history = history_ids(senses.tokenizer, item.history, memory_turns)
    expect = senses.tokenizer.encode(item.expect)
    return Example(Task(name), expect, question_ids=typed, history=history, heard=heard, frames=frames, seen=seen, skill=item.skill)
