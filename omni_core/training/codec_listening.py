"""Teaches the codec's encoder to hear for the listener: its codes should carry words, and the command, out of noise and from any voice.

Codebooks and decoder stay as they are, so answers' codes sound as before. Three things are asked at once: that a throw-away reader, who sees
nothing but the quantised latents and sees them frame by frame as the listener does, can spell what is said (CTC) and tell n-irq from irq; and that
the answering voice is quantised as it was. Source: semantic guidance of codes as in SpeechTokenizer (arXiv 2308.16692) and Mimi (arXiv
2410.00037, section 3.3), with CTC in place of a teacher's features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.checkpoint import formats
from omni_core.checkpoint.load import pick_device
from omni_core.codec.base import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.codec.causal import STRIDES, CausalCodec, ConvLayer
from omni_core.codec.state import StateLayout
from omni_core.config import CausalCodecConfig
from omni_core.datagen import augment
from omni_core.datagen.answers import AnswerSet
from omni_core.datagen.exchange import Split
from omni_core.datagen.interruptions import BEDS, IRQ, N_IRQ, SceneConfig, draw_scene, frame_labels
from omni_core.datagen.scenes import SCENES, read_material
from omni_core.datagen.sentences import spoken_form
from omni_core.datagen.shards import ShardSet
from omni_core.datagen.speech import SpeechSet
from omni_core.encoders.ctc import BLANK, VOCABULARY, character_ids
from omni_core.errors import ConfigError, DataError
from omni_core.training.dataset import IGNORE
from omni_core.training.listening import DECISION_WEIGHT, around_ends
from omni_core.training.loop import LoopConfig, RunLength, run_loop
from omni_core.training.losses import mel_error_db
from omni_core.training.parts import read_start, take_over, write_part
from omni_core.training.prefetch import batches
from omni_core.training.resident.sounds import ResidentSounds
from omni_core.training.settings import adamw, autocast, cosine_rate, set_rate

LATEST, FINAL = "latest.safetensors", "final.safetensors"
_HOPS = STRIDES[0]
_DILATIONS = (1, 2, 4, 8)  # of the reader's layers: it looks back 2.6 s
_WARP = 0.12  # clips are played faster or slower, and so higher or lower, by up to e ** this
_TALKERS = 64  # clips that babble is made of
_HELD_OUT = 60  # scenes of each kind that validation hears
_HELD_OUT_SEED = 7  # `omni eval irq` draws others
_ANSWERS = 12  # that validation puts through the codec
_MARGIN = 2.0  # by which irq must win in validation


@dataclass(frozen=True)
class CodecListening:
    """`configs/codec_listening.yaml`."""

    part: str  #: "encoder"
    data: str  #: folder of speech/, answers/ and scenes/
    output: str
    start: str  #: the codec that goes on: "nano" or a file of `omni train codec`
    encoder_layers: int  #: of the result; layers that `start` doesn't have begin as nothing
    seed: int
    device: str
    precision: str  #: bf16 or float32
    workers: int  #: processes that make batches ahead, where they aren't resident; 0: in place
    loop: LoopConfig
    frames: int  #: of every clip and scene
    sets: dict[str, float]  #: spoken sets and their shares of the clips
    clips: int  #: rows of clips that are spelt, of a step
    scenes: int  #: interruption scenes of a step
    answers: int  #: answers of a step, which are to stay as they were
    reader_width: int
    spelling: float  #: weight of the CTC loss
    command: float  #: of the irq loss
    staying: float  #: of the answers' distance from what they were quantised to
    commitment: float
    rate: float
    rate_end: float
    warmup_steps: int
    weight_decay: float
    clip: float  #: gradient norm
    resident: bool = False  #: clips lie in the device's memory, and new scenes are made there for every step: for a GPU


@dataclass(frozen=True, eq=False)
class Heard:
    """A step's sound: transcribed clips, then scenes, then answers."""

    waves: Tensor  #: [B, F * 2048]
    targets: Tensor  #: [clips, U] character ids, several clips in a row
    target_lengths: Tensor  #: [clips]
    labels: Tensor  #: [clips + scenes, F] int64: N_IRQ, IRQ, or IGNORE
    weights: Tensor  #: [clips + scenes, F]
    answers: int

    def to(self, device: torch.device) -> Heard:
        """The same on `device`."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return dataclasses.replace(self, **{name: value.to(device) for name, value in values if isinstance(value, Tensor)})


class Sounds:
    """What a step hears; it depends on the seed and the step alone. Raises DataError when speech, scenes or answers are missing."""

    def __init__(self, config: CodecListening) -> None:
        self.config, folder = config, Path(config.data)
        self.samples = config.frames * FRAME_SAMPLES
        self.sets = [SpeechSet(folder / "speech", name) for name in config.sets]
        self.scenes, self.answers = ShardSet(folder / "scenes", SCENES), AnswerSet(folder / "answers")
        for found, command in (*((clips, "omni data speech") for clips in self.sets), (self.scenes, "omni data scenes")):
            if not len(found):
                raise DataError(f"{found.folder}: no clips of {found.name}: make them with `{command}`")
        self.shares = np.array(list(config.sets.values())) / sum(config.sets.values())
        rng = np.random.default_rng(config.seed)
        self.noises = augment.noise_bank([self.sets[0].wave(int(index)) for index in rng.integers(len(self.sets[0]), size=_TALKERS)], rng)

    def make(self, step: int) -> Heard:
        """The sound of `step`."""
        config, rng = self.config, np.random.default_rng((self.config.seed, step))
        clips = [self._clips(rng) for _ in range(config.clips)]
        scenes = [self._scene(rng) for _ in range(config.scenes)]
        answers = [answer_stretch(self.answers, self.samples, rng) for _ in range(config.answers)]
        lengths = torch.tensor([len(ids) for _, ids in clips])
        targets = torch.stack([F.pad(torch.tensor(ids), (0, int(lengths.max()) - len(ids))) for _, ids in clips])
        quiet = np.full((config.clips, config.frames), N_IRQ, np.int64)
        labels = np.concatenate([quiet, *(labels[None] for _, labels, _ in scenes)])
        weights = np.concatenate([np.ones_like(quiet, np.float32), *(weights[None] for _, _, weights in scenes)])
        waves = np.stack([*(wave for wave, _ in clips), *(wave for wave, _, _ in scenes), *answers])
        return Heard(torch.from_numpy(waves), targets, lengths, torch.from_numpy(labels), torch.from_numpy(weights), config.answers)

    def _clips(self, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
        """Distorted clips one after the other, as many as there is room for, [samples], and their characters."""
        row, length, texts = np.zeros(self.samples, np.float32), 0, []
        while True:
            clips = self.sets[rng.choice(len(self.sets), p=self.shares)]
            index = int(rng.integers(len(clips)))
            factor = float(np.exp(rng.uniform(-_WARP, _WARP)))
            wave = augment.distort_wave(clips.wave(index), self.noises, rng)
            wave = soxr.resample(wave, clips.rate * factor, SAMPLE_RATE, quality="MQ")
            if length + len(wave) > self.samples:
                if texts:
                    return row, character_ids(" ".join(texts))
                continue  # too long by itself
            row[length : length + len(wave)] = wave
            length += len(wave)
            texts.append(spoken_form(clips.rows[index]["text"]))

    def _scene(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A stretch of a scene [samples] that ends where the scene ends more often than not, its labels [F] and their weights [F]."""
        index = int(rng.integers(len(self.scenes)))
        wave, row = self.scenes.wave(index), self.scenes.rows[index]
        frames = -(-len(wave) // FRAME_SAMPLES)
        labels = frame_labels(row["irq_at"], frames, FRAME_SAMPLES).astype(np.int64)
        weights = np.where(around_ends(row, frames, FRAME_SAMPLES), DECISION_WEIGHT, 1.0).astype(np.float32)
        labels[(labels != N_IRQ) & (labels != IRQ)] = IGNORE
        wave = np.pad(wave, (0, frames * FRAME_SAMPLES - len(wave)))
        spare = frames - self.config.frames
        if spare > 0:
            start = spare if rng.random() < 0.6 else int(rng.integers(spare + 1))
            stop = start + self.config.frames
            return wave[start * FRAME_SAMPLES : stop * FRAME_SAMPLES], labels[start:stop], weights[start:stop]
        before = -spare  # silence, not listened to
        return np.pad(wave, (before * FRAME_SAMPLES, 0)), np.pad(labels, (before, 0), constant_values=IGNORE), np.pad(weights, (before, 0))


def answer_stretch(answers: AnswerSet, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A stretch of an answer [samples], at a level that microphones give."""
    wave = answers.wave(answers.texts[int(rng.integers(len(answers.texts)))])
    start = int(rng.integers(max(1, len(wave) - samples)))
    wave = wave[start : start + samples] * np.float32(10 ** (rng.uniform(-3, 7) / 20))
    return np.pad(wave, (0, samples - len(wave)))


class Reader(nn.Module):
    """Spells and watches for the command from quantised latents, a frame at a time, seeing nothing that comes later. Thrown away."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        layout = StateLayout()
        self.inward = nn.Linear(_HOPS * latent, width)
        self.layers = nn.ModuleList(ConvLayer(width, 2 * width, dilation, layout) for dilation in _DILATIONS)
        self.norm = nn.LayerNorm(width)
        self.characters = nn.Linear(width, _HOPS * VOCABULARY)
        self.status = nn.Linear(width, 2)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 4F, latent] -> character logits [B, 4F, VOCABULARY], and logits of {n-irq, irq} [B, F, 2]."""
        x = self.inward(latents.reshape(latents.shape[0], -1, _HOPS * latents.shape[-1]))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return self.characters(x).unflatten(-1, (_HOPS, -1)).flatten(1, 2), self.status(x)


class CodecListeningLearner:
    """Satisfies `loop.Learner`. Raises ConfigError, DataError and CheckpointError for what the configuration names and is not so."""

    def __init__(self, config: CodecListening) -> None:
        self.config, self.device, self.output = config, pick_device(config.device), Path(config.output)
        torch.manual_seed(config.seed)
        shape, weights = read_start(CausalCodecConfig, config.start, "codec", formats.CODEC)
        if config.encoder_layers < shape.encoder_layers:
            raise ConfigError(f"encoder_layers: {config.start} has {shape.encoder_layers} already: write as many, or more")
        self.shape = dataclasses.replace(shape, encoder_layers=config.encoder_layers)
        self.before, self.codec = CausalCodec(shape), CausalCodec(self.shape)
        take_over(self.before, weights, config.start)
        added = tuple(f"encoder.layers.{number}." for number in range(shape.encoder_layers, config.encoder_layers))
        take_over(self.codec, weights, config.start, new=added)
        for layer in list(self.codec.encoder.layers)[shape.encoder_layers :]:
            assert isinstance(layer, ConvLayer)
            nn.init.zeros_(layer.back.weight)
            nn.init.zeros_(layer.back.bias)
        self.reader = Reader(shape.latent, config.reader_width)
        for module in (self.before, self.codec, self.reader):
            module.to(self.device)
        self.before.requires_grad_(False)
        self.codec.requires_grad_(False)
        self.codec.encoder.requires_grad_(True)
        self.trained = [*self.codec.encoder.parameters(), *self.reader.parameters()]
        self.optimizer = adamw(self.trained, config.rate, config.weight_decay)
        self.length = RunLength(config.loop)
        self.answers = AnswerSet(Path(config.data) / "answers")
        self.make = self._resident() if config.resident else Sounds(config).make
        self._held_out: list[tuple[str, Tensor, float]] = []
        self._batches: Iterator[Heard] | None = None

    def _resident(self) -> Callable[[int], Heard]:
        config = self.config
        sounds = ResidentSounds(Path(config.data), config.sets, config.frames, config.seed, self.device)
        return lambda step: Heard(*sounds.make(step, config.clips, config.scenes, config.answers), config.answers)

    def learn(self, step: int) -> dict[str, float]:
        config = self.config
        if self._batches is None:
            self._batches = batches(self.make, step, config.loop.steps, 0 if config.resident else config.workers)
        heard = next(self._batches).to(self.device)
        set_rate(self.optimizer, cosine_rate(step, self.length(step), config.warmup_steps, config.rate, config.rate_end))
        clips = len(heard.targets)
        with autocast(self.device, config.precision):
            latents = self.codec.encoder(heard.waves)
        quantised, commitment = straight_through(self.codec, latents.float())
        with torch.no_grad():
            wanted = self.before.quantize(self.before.encoder(heard.waves[-heard.answers :]))[0]
        said = quantised[: -heard.answers]
        with autocast(self.device, config.precision):
            characters, status = self.reader(said if step >= config.warmup_steps else said.detach())  # what it asks for at first is nothing
        steps = characters[:clips].float().log_softmax(-1).transpose(0, 1)
        lengths = torch.full((clips,), steps.shape[0])
        spelling = F.ctc_loss(steps, heard.targets, lengths, heard.target_lengths, blank=BLANK, zero_infinity=True)
        command, irq, n_irq = _command_loss(status.float(), heard.labels, heard.weights)
        staying = (quantised[-heard.answers :] - wanted).square().mean()
        loss = config.spelling * spelling + config.command * command + config.staying * staying + config.commitment * commitment
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained, config.clip)
        self.optimizer.step()
        figures = {"loss": loss, "spell": spelling, "command": command, "irq": irq, "n_irq": n_irq, "stay": staying, "commit": commitment}
        figures["norm"] = norm
        return dict(zip(figures, torch.stack([value.detach().float() for value in figures.values()]).tolist(), strict=True))

    @torch.no_grad()
    def validate(self, step: int, writer: SummaryWriter) -> dict[str, float]:
        """Commands missed and false alarms of the reader in held-out scenes, and how far answers come out of the codec."""
        write_part(self.output / LATEST, self.shape, self.codec.state_dict())
        if not self._held_out:
            self._held_out = _held_out_scenes(Path(self.config.data))
        figures: dict[str, float] = {}
        for kind in dict.fromkeys(kind for kind, _, _ in self._held_out):
            missed, false = [], 0
            for _, wave, irq_at in (scene for scene in self._held_out if scene[0] == kind):
                latents = self.codec.quantize(self.codec.encoder(wave[None].to(self.device)))[0]
                status = self.reader(latents)[1][0].float()
                said = (status[:, 1] - status[:, 0] > _MARGIN).cpu()
                at = max(0, int(irq_at * SAMPLE_RATE) // FRAME_SAMPLES - 1)
                missed.append(not bool(said[at:].any()))
                false += int(bool(said[:at].any()))
            figures |= {f"missed {kind}": float(np.mean(missed)), f"early {kind}": false / len(missed)}
        rng = np.random.default_rng(self.config.seed)
        answers = [torch.from_numpy(answer_stretch(self.answers, self.config.frames * FRAME_SAMPLES, rng)).to(self.device) for _ in range(_ANSWERS)]
        for name, codec in (("mel_db", self.codec), ("mel_db before", self.before)):
            figures[name] = float(np.mean([mel_error_db(codec.decode(codec.encode(wave)), wave, SAMPLE_RATE) for wave in answers]))
        return figures

    def state(self) -> dict[str, Any]:
        return {"codec": self.codec.state_dict(), "reader": self.reader.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.codec.load_state_dict(state["codec"])
        self.reader.load_state_dict(state["reader"])
        self.optimizer.load_state_dict(state["optimizer"])

    def finish(self, folder: Path) -> None:
        write_part(folder / FINAL, self.shape, self.codec.state_dict())


def straight_through(codec: CausalCodec, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents [B, 4F, latent] -> (quantised, their gradients handed through, the same shape; how far they are from their codes)."""
    total, commitment = torch.zeros_like(latents), latents.new_zeros(())
    for quantizer in codec.levels:
        vectors = quantizer.project(latents - total)
        entries = quantizer.codebook[quantizer.lookup(vectors.detach())]
        commitment = commitment + (vectors - entries).square().sum(-1).mean()
        total = total + quantizer.expand(vectors + (entries - vectors).detach())
    return total, commitment


def _command_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted cross-entropy of logits [B, F, 2], and the shares of irq and of n-irq frames told right."""
    known = labels != IGNORE
    losses = F.cross_entropy(logits[known], labels[known], reduction="none")
    loss = (losses * weights[known]).sum() / weights[known].sum()
    right = logits.detach().argmax(-1) == labels
    shares = [(right & (labels == label)).sum() / (labels == label).sum().clamp(min=1) for label in (IRQ, N_IRQ)]
    return loss, shares[0], shares[1]


def _held_out_scenes(folder: Path) -> list[tuple[str, Tensor, float]]:
    """(kind, wave [F * 2048], where the command ends in s) of held-out voices: clean, and at 10 dB."""
    material = read_material(folder, Split.TEST)
    kinds = {
        "clean": SceneConfig(seconds=(6, 6), command_share=1, near_misses=0, beds=("quiet",), echo_share=0),
        "10 dB": SceneConfig(seconds=(6, 6), command_share=1, near_misses=0, beds=BEDS[:-1], snr_db=(10, 10)),
    }
    found = []
    for number, (kind, config) in enumerate(kinds.items()):
        for index in range(_HELD_OUT):
            scene = draw_scene(np.random.default_rng((_HELD_OUT_SEED, number, index)), material, config)
            assert scene.irq_at is not None
            wave = torch.from_numpy(scene.wave)
            found.append((kind, F.pad(wave, (0, -len(wave) % FRAME_SAMPLES)), scene.irq_at))
    return found


def run(config: CodecListening, *, resume: bool, max_minutes: float | None) -> None:
    """Train until the configuration's last step or for `max_minutes`. Raises what the learner and `run_loop` raise."""
    run_loop("codec encoder", CodecListeningLearner(config), config.loop, Path(config.output), resume=resume, max_minutes=max_minutes)
