"""The stages of the language model: what trains in each, on what, and the update itself.

    lm      stage 0, for models from scratch: the language model on text, read and spoken
    stage1  the two adapters: speech -> its text, image -> caption       (encoders and language model frozen)
    stage2  the language model: questions -> text answers                (encoders and adapters frozen)
    stage3  language model and adapters: questions -> text and speech, "stop omni" -> irq   (encoders frozen)

Source: Mini-Omni2, figure of the three training stages, and model-facts section 4. Every stage starts from a model (`starts`) and writes
one, `OUTPUT/model`.
`accelerate launch --num_processes N -m clients.cli train ...` trains on N devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.checkpoint import Bundle, save_bundle
from omni_core.config import ListenerConfig
from omni_core.errors import ConfigError
from omni_core.tokens import Task
from omni_core.training import settings
from omni_core.training.dataset import Batch, Example, split_by_length
from omni_core.training.dry import MadeUpSource, open_dry
from omni_core.training.listening import ListenerSource
from omni_core.training.loop import LoopConfig, RunLength, Team, run_loop
from omni_core.training.objective import Counts, ListeningPart, Objective
from omni_core.training.prefetch import batches
from omni_core.training.resident.examples import ResidentConfig, ResidentExamples, UnheardSource
from omni_core.training.resident.listening import ResidentListening
from omni_core.training.samples import spectrogram
from omni_core.training.settings import adamw, cosine_rate, set_rate
from omni_core.training.source import Senses, Source
from omni_core.training.starts import NewModel, PublicModel, open_start
from omni_core.training.supply import DataConfig, ListeningConfig, open_listening, open_source, open_validation, senses_of

Parts = list[Batch | ListeningPart]

MODEL = "model"  #: the folder that a stage writes its model to
_VALIDATION_PASSES = 8  # batches that the held-out questions are cut into
_PRECISIONS = {settings.BF16: "bf16", settings.FLOAT32: "no"}  # as accelerate calls them


@dataclass(frozen=True)
class Stage:
    """What a stage may touch."""

    trains: tuple[str, ...]  #: prefixes of parameter names
    senses: bool = True  #: its tasks may take speech and pictures
    speaks: bool = False  #: its tasks may answer in speech
    listens: bool = False  #: the listener may be trained beside its tasks


_LANGUAGE_MODEL = ("embedding.", "backbone.")
_ADAPTERS = ("audio_adapter.", "vision_adapter.")
STAGES = {
    "lm": Stage(_LANGUAGE_MODEL, senses=False, speaks=True),
    "stage1": Stage(_ADAPTERS),
    "stage2": Stage(_LANGUAGE_MODEL),
    "stage3": Stage(_LANGUAGE_MODEL + _ADAPTERS, speaks=True, listens=True),
}


@dataclass(frozen=True)
class StageConfig:
    """A stage's YAML file. Exactly one of start, new and public."""

    seed: int
    output: str  #: folder for the state, the log and the model
    loop: LoopConfig
    data: DataConfig
    tasks: dict  #: task -> share of the examples
    batch: int  #: examples a step and process
    passes: int  #: forward and backward passes a step: gradient accumulation, long sequences apart from short ones
    rate: float  #: peak learning rate
    rate_end: float  #: at the last step; a cosine between, after a linear warm-up
    warmup_steps: int
    weight_decay: float
    clip: float  #: gradient norm
    text_weight: float  #: of the text loss beside the audio loss
    precision: str  #: bf16 | float32
    storage: str  #: of the model's floating-point tensors on disk: float16 | bfloat16 | float32
    workers: int = 0  #: processes that make batches ahead; 0: in place
    threads: int = 0  #: torch's, on a CPU; 0: as torch finds best
    resident: ResidentConfig | None = None  #: examples lie in the device's memory, their sound and the listener's scenes are made there: for a GPU
    listening: ListeningConfig | None = None  #: stage 3: the listener's share
    start: str | None = None  #: a model directory, "nano", a hub name, or "random:full"
    new: NewModel | None = None
    public: PublicModel | None = None


def read_config(path: Path, name: str) -> StageConfig:
    """Read the YAML strictly. ConfigError names an unknown, missing or mistyped key, or a task that the stage does not have."""
    config = settings.read_config(StageConfig, path)
    stage = STAGES[name]
    for task in config.tasks:
        if task not in Task.__members__:
            raise ConfigError(f"{path.name}.tasks: unknown task {task!r}; there are {', '.join(Task)}")
        if Task(task).speaks > stage.speaks or (Task(task).needs_audio or Task(task).needs_image) > stage.senses:
            raise ConfigError(f"{path.name}.tasks: {task} has no place in {name}")
    if config.listening is not None and not stage.listens:
        raise ConfigError(f"{path.name}.listening: the listener is trained in stage3, not in {name}")
    for key, value, known in (("precision", config.precision, _PRECISIONS), ("storage", config.storage, ("float16", "bfloat16", "float32"))):
        if value not in known:
            raise ConfigError(f"{path.name}.{key}: {value!r} is not one of {', '.join(known)}")
    return config


class StageLearner:
    """One stage's model and optimiser. Satisfies `loop.Learner`."""

    def __init__(self, stage: Stage, config: StageConfig, bundle: Bundle, senses: Senses, accelerator: Accelerator) -> None:
        self.config, self.bundle, self.accelerator = config, bundle, accelerator
        self.model = bundle.model.train()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(stage.trains))
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = adamw(self.trained, config.rate, config.weight_decay)
        self.objective = Objective(self.model, senses.ear, senses.eye, config.text_weight)
        self.wrapped, self.stepper = accelerator.prepare(self.objective, self.optimiser)
        self.length = RunLength(config.loop)
        self.source: Source | None = None
        self.resident: ResidentExamples | None = None
        self.listening: ListenerSource | ResidentListening | None = None
        self.held_out: list[Batch] = []
        self._made: Iterator[Parts] = iter(())
        self._next = -1

    def parts(self, step: int) -> Parts:
        """What update `step` of this process learns from: its examples in `config.passes` batches, then the listener's share."""
        index = step * self.accelerator.num_processes + self.accelerator.process_index
        parts: Parts
        if self.resident is not None:
            parts = list(self.resident.batches(index, self.config.batch, self.config.passes))
        elif self.source is not None:
            parts = list(self.batches(self.source.examples(self.config.batch, index), self.config.passes))
        else:
            raise ConfigError("this learner was given no data")
        listening = self.config.listening
        if self.listening is not None and listening is not None:
            parts.append(ListeningPart(self.listening.batch(index), listening.band_frames, listening.weight))
        return parts

    def batches(self, examples: Sequence[Example], passes: int) -> list[Batch]:
        """`examples` laid out for this model."""
        return split_by_length(self.model.layout, examples, passes, image_overwrites_input=self.model.config.image_overwrites_input)

    def learn(self, step: int) -> Mapping[str, float]:
        """One update. The norm of its gradient is among the figures, so that one that is not finite ends the run."""
        if step != self._next:
            self._made = batches(self.parts, step, self.config.loop.steps, 0 if self.resident is not None else self.config.workers)
        self._next = step + 1
        config = self.config
        set_rate(self.optimiser, cosine_rate(step, self.length(step), config.warmup_steps, config.rate, config.rate_end))
        parts = next(self._made)
        counts = Counts.of([part for part in parts if isinstance(part, Batch)])
        totals: dict[str, Tensor | float] = {}
        for number, part in enumerate(parts):
            waits = number < len(parts) - 1  # gradients meet those of other processes once a step
            with self.accelerator.no_sync(self.wrapped) if waits else contextlib.nullcontext():
                loss, figures = self.wrapped(part, counts)
                self.accelerator.backward(loss)
            for name, value in {"loss": loss.detach(), **figures}.items():
                totals[name] = totals[name] + value if name in totals else value
        norm = self.accelerator.clip_grad_norm_(self.trained, config.clip)
        self.stepper.step()
        self.stepper.zero_grad()
        return {name: float(value) for name, value in (totals | {"norm": norm if norm is not None else 0.0}).items()}

    @torch.no_grad()
    def validate(self, step: int, writer: SummaryWriter) -> Mapping[str, float]:
        """The share of held-out questions whose whole text would be said right, by skill; samples of speech where the source has any."""
        right: dict[str, list[bool]] = {}
        for batch in self.held_out:
            with self.accelerator.autocast():
                whole_texts = self.objective.whole_texts(batch)
            for skill, whole in zip(batch.skills, whole_texts, strict=True):
                right.setdefault(skill, []).append(whole)
        self._sample(step, writer)
        return {f"right_{skill}": sum(found) / len(found) for skill, found in right.items()}

    def _sample(self, step: int, writer: SummaryWriter) -> None:
        """One answer of the training data as the model would say it, teacher-forced: its sound and its spectrogram."""
        speaking = [Task(name) for name in self.config.tasks if Task(name).speaks]
        codec = self.bundle.codec
        if self.source is None or codec is None or not speaking:
            return
        example = next((e for e in self.source.examples(4 * len(self.config.tasks), step) if e.task in speaking), None)
        if example is None:
            return
        with self.accelerator.autocast():
            frames = self.objective.said_frames(self.batches([example], 1)[0])
        wave = codec.decode(frames.cpu()).numpy()
        writer.add_audio("answer", wave[None], step, codec.sample_rate)
        writer.add_image("answer", spectrogram(wave, codec.sample_rate), step)

    def state(self) -> dict[str, Any]:
        trained = {name: parameter.detach() for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        return {"model": trained, "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        own = {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if own.keys() != state["model"].keys():
            raise ValueError(f"it trains {len(state['model'])} tensors, this stage {len(own)}")
        with torch.no_grad():
            for name, tensor in state["model"].items():
                if own[name].shape != tensor.shape:
                    raise ValueError(f"{name} is {tuple(tensor.shape)} there and {tuple(own[name].shape)} here")
                own[name].copy_(tensor)
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self, folder: Path) -> None:
        """Write the model with its parts."""
        listening = self.config.listening
        listener = self.bundle.listener if listening is None else ListenerConfig(listening.band_frames, listening.margin)
        bundle = dataclasses.replace(self.bundle, model=self.model.eval(), listener=listener)
        save_bundle(bundle, folder / MODEL, storage=getattr(torch, self.config.storage))


def run(name: str, config_path: Path, *, resume: bool = False, max_minutes: float | None = None, dry_run: bool = False) -> bool:
    """Train stage `name` by its configuration. Whether the run reached its end, and so wrote its model.

    dry_run: one update on made-up examples, from the model that `start` names or random weights of its shape, then the model is written to
    OUTPUT-dry-run: shows that a configuration builds and fits, before any data or weights are there.
    Raises ConfigError, DataError, CheckpointError, TrainingError.
    """
    config = read_config(config_path, name)
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=_PRECISIONS[config.precision],
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.num_processes > 1 and (config.loop.minutes is not None or config.resident is not None):
        raise ConfigError("loop.minutes and resident are for one process: each would go by a clock, and hold the data, of its own")
    folder = Path(config.output)
    if dry_run:
        config = dataclasses.replace(config, loop=LoopConfig(1, 1), workers=0, listening=None, batch=min(config.batch, 2), passes=1)
        folder = folder.with_name(folder.name + "-dry-run")
        bundle = open_dry(config.start, config.new, config.public, config.seed)
    else:
        bundle = open_start(config.start, config.new, config.public, config.seed)
    senses = senses_of(bundle, accelerator.device)
    learner = StageLearner(STAGES[name], config, bundle, senses, accelerator)
    if dry_run:
        learner.source = MadeUpSource(senses, config.tasks, config.seed, None if bundle.codec is None else bundle.codec.codes)
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with accelerator.main_process_first():  # what is made once and kept, the others find
            if config.resident is not None:
                learner.resident = open_resident(config, bundle, senses, accelerator.device)
            else:
                learner.source = open_source(config.data, senses, bundle.codec, config.tasks, config.seed, bundle.memory_turns)
            if config.listening is not None:
                learner.listening = _open_listening(config, config.listening, bundle, accelerator.device)
        held_out = open_validation(config.data, senses, bundle.memory_turns) if name != "lm" else []
        learner.held_out = learner.batches(held_out, _VALIDATION_PASSES) if held_out else []
    team = Team(accelerator.is_main_process, lambda wanted: _anyone(accelerator, wanted))
    return run_loop(name, learner, config.loop, folder, resume=resume, max_minutes=max_minutes, team=team)


def open_resident(config: StageConfig, bundle: Bundle, senses: Senses, device: torch.device) -> ResidentExamples:
    """The examples of `config` in the device's memory. Raises ConfigError where they are people's own recordings, and what `open_source` raises."""
    if config.data.recordings is not None or config.data.skills is None or config.resident is None:
        raise ConfigError("resident: recordings are read from disk; leave it out")
    if bundle.model.config.image_overwrites_input:
        raise ConfigError("resident: pictures that overwrite the prompt are laid out on the CPU alone; leave it out")

    def source() -> UnheardSource:
        found = open_source(config.data, senses, bundle.codec, config.tasks, config.seed, bundle.memory_turns, UnheardSource)
        assert isinstance(found, UnheardSource)
        return found

    what = f"{config.data} {config.tasks} {config.seed} {config.resident.examples} {bundle.memory_turns} {bundle.model.layout}"
    speech = Path(config.data.folder) / "speech"
    return ResidentExamples(speech, senses, bundle.model.layout, config.resident, source, what, config.seed, device, config.precision)


def _open_listening(config: StageConfig, listening: ListeningConfig, bundle: Bundle, device: torch.device) -> ListenerSource | ResidentListening:
    if config.resident is None:
        return open_listening(listening, bundle, config.seed)
    folder, layout = Path(config.data.folder), bundle.model.layout
    return ResidentListening(folder, bundle.codec, layout, listening.batch, listening.frames, config.seed, device)


def _anyone(accelerator: Accelerator, wanted: bool) -> bool:
    if accelerator.num_processes == 1:
        return wanted
    votes = accelerator.gather(torch.tensor([wanted], device=accelerator.device))
    return bool(torch.as_tensor(votes).any())
