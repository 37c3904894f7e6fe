"""Interruption scenes on the device, new ones for every step: `datagen.interruptions` for a whole batch.

All scenes of a batch are of one length, and where `ends` says so a scene ends soon after its command, as those of `omni data scenes` do.
Nothing can be learned by heart: only the commands and near misses themselves are stored, and each is heard at another speed, in another
room, over something else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.codec.base import FRAME_SAMPLES
from omni_core.datagen import music
from omni_core.datagen.exchange import Split
from omni_core.datagen.interruptions import AFTER_S, BEDS, END_DB, FAINT, GAP_S, IRQ, N_IRQ, SAMPLE_RATE, holds_command
from omni_core.datagen.scenes import read_material
from omni_core.training.dataset import IGNORE
from omni_core.training.listening import AFTER, BEFORE
from omni_core.training.prefetch import batches
from omni_core.training.resident import sound
from omni_core.training.resident.bank import Bank, add, joined

_MUSIC_PIECES, _MUSIC_S = 48, 20
WARP = 0.14  #: speakers are made smaller or larger by up to e ** this
_TILT_DB = 12.0
_NEAR_MISSES = 3  # at most, in a scene
_COMMAND_SHARE = 0.6
_ECHO_SHARE = 0.7
_ROOM_S = 0.3  # that a phrase rings on


@dataclass(frozen=True, eq=False)
class DrawnScenes:
    """Scenes, and what the listener should say of each frame."""

    waves: Tensor  #: [B, F * 2048] float32 at 24 kHz
    labels: Tensor  #: [B, F] int64: N_IRQ, IRQ, or IGNORE
    decisions: Tensor  #: bool [B, F]: around the end of a command or a near miss


@dataclass(frozen=True)
class _Phrases:
    """Clips to be laid into rows: arrays of one length."""

    rows: NDArray[np.int64]
    clips: NDArray[np.int64]
    starts: NDArray[np.int64]  #: samples at 24 kHz
    speeds: NDArray[np.float64]


class Scenes:
    """Draws scenes from the clips and answers in `folder`. Raises DataError for what isn't there."""

    def __init__(self, folder: Path, device: torch.device, seed: int) -> None:
        material = read_material(folder, Split.TRAIN)
        sets = (material.talk, material.commands, material.near_misses)
        self.device = device
        self.bank, starts = joined(sets, device, "scenes")
        self._talk = np.array([number for number, row in enumerate(material.talk.rows) if not holds_command(row["text"])])
        self._commands, self._near_misses = np.arange(starts[1], starts[2]), np.arange(starts[2], starts[3])
        self._ends = self.bank.ends(np.arange(starts[1], starts[3]), END_DB)
        texts = [text for text in material.answers.texts if not holds_command(text)]
        self.answers = Bank(len(texts), lambda number: material.answers.wave(texts[number]), SAMPLE_RATE, device, "answers")
        pieces = batches(lambda number: _piece(seed, number), 0, _MUSIC_PIECES, len(os.sched_getaffinity(0)))
        self._music = torch.stack(list(pieces)).to(device)

    @torch.no_grad()
    def draw(self, rows: int, frames: int, ends: float, rng: np.random.Generator, generator: torch.Generator) -> DrawnScenes:
        """`rows` scenes of `frames` frames; `ends`: the share of those with a command that end 0.9 s after it."""
        samples = frames * FRAME_SAMPLES
        kinds = rng.integers(len(BEDS), size=rows)
        bed = self._beds(kinds, samples, rng, generator)
        echoing = np.flatnonzero(rng.random(rows) < _ECHO_SHARE)
        if len(echoing):
            db = rng.uniform(-30, -3, len(echoing)) + 10.0 * (kinds[echoing] == len(BEDS) - 1)
            bed[self.bank.at(echoing)] += self._echo(len(echoing), samples, rng, generator) * sound.decibels(self._tensor(db))[:, None]
        near, irq_at = self._place(rows, samples, ends, rng)
        heard = bed + self._spoken(bed, near, irq_at, rng, generator)
        heard = sound.tilt(heard, sound.uniform(generator, -_TILT_DB, _TILT_DB, rows), SAMPLE_RATE)
        loud = np.isin(np.arange(rows), echoing) | (kinds != len(BEDS) - 1) | np.isin(np.arange(rows), np.concatenate([near.rows, irq_at.rows]))
        return DrawnScenes(self._levelled(heard, loud, rng), *self._labels(rows, frames, near, irq_at))

    # What is heard beside the phrases.

    def _beds(self, kinds: NDArray[np.int64], samples: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        bed = torch.zeros(len(kinds), samples, device=self.device)
        for kind, name in enumerate(BEDS):
            rows = np.flatnonzero(kinds == kind)
            if not len(rows):
                continue
            count = len(rows)
            if name in ("noise", "quiet"):
                wave = sound.coloured_noise(generator, sound.uniform(generator, 0, 2, count), samples, SAMPLE_RATE)
                if name == "quiet":
                    wave = wave * self._tensor(rng.choice([1e-4, 0.003, 0.01, 0.03], count))[:, None]
                else:
                    wave = sound.where(sound.chance(generator, 0.5, count), wave * self._swell(count, samples, generator), wave)
            else:
                wave = self._bed(name, count, samples, rng, generator)
                wave = wave / sound.rms(wave).clamp(min=1e-6)
                hiss = sound.coloured_noise(generator, torch.ones(count, device=self.device), samples, SAMPLE_RATE)
                wave = wave + hiss * sound.decibels(sound.uniform(generator, -60, -20, count))[:, None]
                narrow = sound.band_limit(
                    wave, sound.uniform(generator, 50, 200, count), sound.uniform(generator, 4000, 12000, count), SAMPLE_RATE
                )
                wave = sound.where(sound.chance(generator, 0.3, count), narrow, wave)
            bed[self.bank.at(rows)] = wave
        return bed

    def _bed(self, name: str, count: int, samples: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        if name == "talk":
            return self._talking(count, samples, rng)
        if name == "babble":
            voices = rng.integers(3, 7, count)
            return torch.stack([self._talking(count, samples, rng) * self._tensor(voices > voice)[:, None] for voice in range(6)]).sum(0)
        pieces = torch.randint(len(self._music), (count, 1), generator=generator, device=self.device)
        starts = torch.randint(self._music.shape[1], (count, 1), generator=generator, device=self.device)
        return self._music[pieces, (starts + torch.arange(samples, device=self.device)) % self._music.shape[1]]

    def _talking(self, count: int, samples: int, rng: np.random.Generator) -> Tensor:
        """People talking one after the other, with pauses: [count, samples]."""
        clips = self._talk[rng.integers(len(self._talk), size=(count, 2 + samples // SAMPLE_RATE))]
        speeds = np.exp(rng.uniform(-WARP, WARP, clips.shape))
        taken = self.bank.taken(clips, speeds, SAMPLE_RATE) + (rng.exponential(0.4, clips.shape) * SAMPLE_RATE).astype(np.int64)
        starts = np.cumsum(taken, axis=1) - taken - (rng.random((count, 1)) * taken[:, :1]).astype(np.int64)  # the first is under way
        gains = rng.uniform(0.5, 1.5, clips.shape)
        return self._laid(self.bank, count, samples, clips, starts, speeds, gains)

    def _echo(self, count: int, samples: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """The assistant through loudspeaker, room and microphone: [count, samples] of RMS 1."""
        clips = rng.integers(len(self.answers), size=(count, 3 + samples // (2 * SAMPLE_RATE)))
        taken = self.answers.lengths[clips] + (rng.uniform(0.1, 1.5, clips.shape) * SAMPLE_RATE).astype(np.int64)
        starts = np.cumsum(taken, axis=1) - taken - (rng.random((count, 1)) * taken[:, :1]).astype(np.int64)
        wave = self._laid(self.answers, count, samples, clips, starts, np.ones(clips.shape), np.ones(clips.shape))
        wave = sound.reverberate(generator, wave, (0.1, 0.4), (0.05, 0.6), SAMPLE_RATE)
        wave = sound.band_limit(wave, sound.uniform(generator, 80, 400, count), sound.uniform(generator, 3000, 8000, count), SAMPLE_RATE)
        return wave / sound.rms(wave).clamp(min=1e-6)

    def _laid(
        self,
        bank: Bank,
        count: int,
        samples: int,
        clips: NDArray[np.int64],
        starts: NDArray[np.int64],
        speeds: NDArray[np.float64],
        gains: NDArray[np.float64],
    ) -> Tensor:
        """Clips [count, K] one after the other: [count, samples]."""
        track = torch.zeros(count, samples, device=self.device)
        rows, places = np.nonzero((starts < samples) & (starts + bank.taken(clips, speeds, SAMPLE_RATE) > 0))
        waves = bank.alone(clips[rows, places], speeds[rows, places], SAMPLE_RATE)
        return add(track, rows, starts[rows, places], waves * self._tensor(gains[rows, places])[:, None])

    # Phrases: the command and what is near it.

    def _place(self, rows: int, samples: int, ends: float, rng: np.random.Generator) -> tuple[_Phrases, _Phrases]:
        """Near misses, and the command, which is the last thing said. Which rows have any is drawn."""
        speeds = np.exp(rng.uniform(-WARP, WARP, (rows, _NEAR_MISSES + 1)))
        command = self._commands[rng.integers(len(self._commands), size=rows)]
        taken = self.bank.taken(command, speeds[:, -1], SAMPLE_RATE)
        commanded = (rng.random(rows) < _COMMAND_SHARE) & (taken + int(AFTER_S * SAMPLE_RATE) < samples)
        latest = np.where(commanded, samples - taken - int(AFTER_S * SAMPLE_RATE), samples)
        found: list[tuple[NDArray[np.int64], ...]] = []
        until, going = np.zeros(rows, np.int64), np.ones(rows, bool)
        wanted = rng.integers(_NEAR_MISSES + 1, size=rows)
        for number in range(_NEAR_MISSES):
            clips = self._near_misses[rng.integers(len(self._near_misses), size=rows)]
            starts = until + (rng.uniform(GAP_S, GAP_S + samples / SAMPLE_RATE / (number + 2), rows) * SAMPLE_RATE).astype(np.int64)
            stops = starts + self.bank.taken(clips, speeds[:, number], SAMPLE_RATE)
            going &= (number < wanted) & (stops <= latest)
            at = np.flatnonzero(going)
            found.append((at, clips[at], starts[at], speeds[at, number]))
            until = np.where(going, stops, until)
        near = _Phrases(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        at = np.flatnonzero(commanded)
        last = rng.random(len(at)) < ends
        starts = np.where(last, latest[at], (until[at] + rng.random(len(at)) * (latest[at] - until[at])).astype(np.int64))
        return near, _Phrases(at, command[at], starts, speeds[at, -1])

    def _spoken(self, bed: Tensor, near: _Phrases, commands: _Phrases, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """What is said, each phrase as far over the bed around it as is drawn: [B, samples]."""
        speech = torch.zeros_like(bed)
        phrases = _Phrases(*(np.concatenate([getattr(part, name) for part in (near, commands)]) for name in ("rows", "clips", "starts", "speeds")))
        if not len(phrases.rows):
            return speech
        taken = self.bank.taken(phrases.clips, phrases.speeds, SAMPLE_RATE)
        waves = self.bank.alone(phrases.clips, phrases.speeds, SAMPLE_RATE, int(_ROOM_S * SAMPLE_RATE))
        level = (waves.square().sum(-1) / self._tensor(taken)).sqrt().clamp(min=1e-6)
        energy = torch.nn.functional.pad(bed.double().square().cumsum(1), (1, 0))  # [B, samples + 1]
        first = np.maximum(phrases.starts - SAMPLE_RATE // 2, 0)
        last = np.minimum(phrases.starts + taken + SAMPLE_RATE // 2, bed.shape[1])
        rows = self.bank.at(phrases.rows)
        around = ((energy[rows, self.bank.at(last)] - energy[rows, self.bank.at(first)]) / self._tensor(last - first)).clamp(min=0).sqrt().float()
        mean = sound.rms(bed)[rows, 0]
        snr = self._tensor(np.clip(rng.normal(14, 7, len(rows)), -5, 30))
        gain = torch.maximum(torch.maximum(around, 0.3 * mean), torch.full_like(mean, FAINT)) * sound.decibels(snr) / level
        roomy = self._tensor(rng.random(len(bed)) < 0.5)[rows] > 0
        waves = sound.where(roomy, sound.reverberate(generator, waves, (0.1, 0.5), (0.05, 0.5), SAMPLE_RATE), waves)
        return add(speech, phrases.rows, phrases.starts, waves * gain[:, None])

    def _labels(self, rows: int, frames: int, near: _Phrases, commands: _Phrases) -> tuple[Tensor, Tensor]:
        labels, decisions = np.full((rows, frames), N_IRQ, np.int64), np.zeros((rows, frames), bool)
        places = np.arange(frames)
        for phrases in (near, commands):
            ends = phrases.starts + self._ends[phrases.clips - self._commands[0]] * SAMPLE_RATE / self.bank.rate / phrases.speeds
            at = (ends / FRAME_SAMPLES).astype(np.int64)[:, None]
            np.logical_or.at(decisions, phrases.rows, (places >= at - BEFORE) & (places <= at + AFTER))
            if phrases is commands:
                last = ((np.rint(ends).astype(np.int64) - 1) // FRAME_SAMPLES)[:, None]
                labels[phrases.rows] = np.where(places >= last, IRQ, np.where(places == last - 1, IGNORE, N_IRQ))
        return self.bank.at(labels), torch.from_numpy(decisions).to(self.device)

    # Tools.

    def _levelled(self, waves: Tensor, loud: NDArray[np.bool_], rng: np.random.Generator) -> Tensor:
        """Peaks at -30 to -1 dB of full scale, at times clipped; what is not `loud` stays 30 dB lower."""
        peaks = np.where(loud, rng.uniform(-30, -1, len(waves)), rng.uniform(-75, -40, len(waves)))
        peaks = np.where(loud & (rng.random(len(waves)) < 0.05), rng.uniform(0, 6, len(waves)), peaks)
        highest = waves.abs().amax(-1).clamp(min=1e-6)
        return (waves * (sound.decibels(self._tensor(peaks)) / highest)[:, None]).clamp(-1, 1)

    def _swell(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        knots = sound.uniform(generator, -14, 6, count, 1, 2 + samples // (2 * SAMPLE_RATE))
        return sound.decibels(torch.nn.functional.interpolate(knots, samples, mode="linear", align_corners=True)[:, 0])

    def _tensor(self, values: NDArray) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)


def _piece(seed: int, number: int) -> Tensor:
    return torch.from_numpy(music.compose(_MUSIC_S * SAMPLE_RATE, np.random.default_rng((seed, number))))
