"""Losses of codec training: spectral distances weighted to the bands that carry words, and an adversary of spectrograms."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from omni_core.codec.causal import mel_filters

RESOLUTIONS = ((2048, 512, 128), (1024, 256, 96), (512, 128, 64), (256, 64, 32))  #: window, hop, mel bands
FLOOR = 5e-5  #: of magnitudes relative to a full-scale sine, -86 dB: noise at -30 dB of the speech already costs pocketsphinx a third of its words
BANDS = ((4000.0, 1.0), (8000.0, 0.8), (12000.0, 0.1))  #: weight of frequencies up to so many Hz: words live below 4 kHz


def band_weights(hertz: torch.Tensor) -> torch.Tensor:
    """The weight of each frequency of [n] Hz."""
    weights = torch.zeros_like(hertz)
    for top, weight in reversed(BANDS):
        weights[hertz <= top] = weight
    return weights


class CepstralLoss(nn.Module):
    """Distance of mel cepstra and of their slopes over time: the envelope that tells vowels apart, free of harmonics."""

    WINDOW, HOP, FFT, BANDS, KEPT, SPAN = 614, 240, 1024, 25, 13, 4  #: 25.6 ms every 10 ms, as recognisers hear; slopes over 4 hops

    window: torch.Tensor
    filters: torch.Tensor
    cosines: torch.Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hamming_window(self.WINDOW), persistent=False)
        self.register_buffer("filters", mel_filters(self.BANDS, self.FFT, sample_rate, 130.0, 6800.0), persistent=False)
        order, band = torch.arange(self.KEPT)[:, None], torch.arange(self.BANDS)[None]
        cosines = torch.cos(torch.pi * order * (band + 0.5) / self.BANDS) * (2 / self.BANDS) ** 0.5
        self.register_buffer("cosines", cosines * torch.tensor([0.3] + [1.0] * (self.KEPT - 1))[:, None], persistent=False)  # loudness counts less

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """[B, N] and [B, N] -> a scalar; gradients flow to `output` only."""
        difference = self._cepstra(output) - self._cepstra(target).detach()
        return difference.abs().mean() + (difference[:, self.SPAN:] - difference[:, :-self.SPAN]).abs().mean()

    def _cepstra(self, wave: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(wave.unfold(-1, self.WINDOW, self.HOP) * self.window, n=self.FFT)
        power = (spectrum.real.square() + spectrum.imag.square()) @ self.filters
        return (power + 1e-4).log() @ self.cosines.t()


class SpectralLoss(nn.Module):
    """Multi-resolution distance of two waves: log-mel L1 + log-magnitude L1 + spectral convergence by band, and the distance of cepstra."""

    def __init__(self, sample_rate: int, mel: float, magnitude: float, convergence: float, cepstral: float) -> None:
        super().__init__()
        self.cepstral, self.cepstra = cepstral, CepstralLoss(sample_rate)
        self.weights = (mel, magnitude, convergence)
        for fft, _, bands in RESOLUTIONS:
            self.register_buffer(f"window_{fft}", torch.hann_window(fft), persistent=False)
            filters = mel_filters(bands, fft, sample_rate)
            hertz = torch.linspace(0, sample_rate / 2, fft // 2 + 1)
            self.register_buffer(f"filters_{fft}", filters, persistent=False)
            self.register_buffer(f"bins_{fft}", _mean_one(band_weights(hertz)), persistent=False)
            # speech falls by about 6 dB an octave: without a tilt the convergence would hear nothing but the lowest harmonics
            self.register_buffer(f"tilted_{fft}", _mean_one(band_weights(hertz) * (100 + hertz)), persistent=False)
            centres = (filters * hertz[:, None]).sum(0) / filters.sum(0).clamp(min=1e-6)
            self.register_buffer(f"bands_{fft}", _mean_one(band_weights(centres) * (filters.sum(0) > 0)), persistent=False)

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """[B, N] and [B, N] -> a scalar; gradients flow to `output` only."""
        total = output.new_zeros(())
        for fft, hop, _ in RESOLUTIONS:
            bins, tilted, bands, filters = (getattr(self, f"{name}_{fft}") for name in ("bins", "tilted", "bands", "filters"))
            got = self._magnitude(output, fft, hop)
            with torch.no_grad():
                want = self._magnitude(target, fft, hop)
                want_log, want_mel = (want + FLOOR).log(), (want @ filters + FLOOR).log()
            mel = (((got @ filters + FLOOR).log() - want_mel).abs() * bands).mean()
            magnitude = (((got + FLOOR).log() - want_log).abs() * bins).mean()
            distance = ((got - want) * tilted).flatten(1).norm(dim=1) / (want * tilted).flatten(1).norm(dim=1).clamp(min=0.05)
            total = total + self.weights[0] * mel + self.weights[1] * magnitude + self.weights[2] * distance.mean()
        return total / len(RESOLUTIONS) + (self.cepstral * self.cepstra(output, target) if self.cepstral else 0.0)

    def _magnitude(self, wave: torch.Tensor, fft: int, hop: int) -> torch.Tensor:
        """[B, N] -> [B, T, fft/2+1], 1 for a full-scale sine."""
        spectrum = torch.fft.rfft(wave.unfold(-1, fft, hop) * getattr(self, f"window_{fft}"))
        return (spectrum.real.square() + spectrum.imag.square() + 1e-7).sqrt() * (4 / fft)


def mel_error_db(output: torch.Tensor, target: torch.Tensor, sample_rate: int) -> float:
    """Mean distance of two waves [N] in 80 log-mel bands, dB: what validation tells."""
    window, filters = torch.hann_window(1024, device=output.device), mel_filters(80, 1024, sample_rate).to(output.device)
    got, wanted = (torch.fft.rfft(wave.unfold(-1, 1024, 256) * window).abs() * (4 / 1024) @ filters + FLOOR for wave in (output, target))
    return float((20 * (got / wanted).log10()).abs().mean())


def _mean_one(weights: torch.Tensor) -> torch.Tensor:
    return weights / weights.mean()


class SpectrogramCritic(nn.Module):
    """Judges complex spectrograms up to 8 kHz at several resolutions with small 2-D convolutions (as DAC's multi-resolution discriminator)."""

    def __init__(self, sample_rate: int, channels: int = 16, resolutions: tuple[tuple[int, int], ...] = ((1024, 256), (512, 128))) -> None:
        super().__init__()
        self.resolutions = resolutions
        self.bins = [round(fft * 8000 / sample_rate) for fft, _ in resolutions]
        stack = []
        for fft, _ in resolutions:
            self.register_buffer(f"window_{fft}", torch.hann_window(fft), persistent=False)
            shapes = [(2, (3, 9), 2), (channels, (3, 9), 2), (channels, (3, 9), 2), (channels, (3, 3), 1)]
            stack.append(nn.ModuleList(
                nn.utils.parametrizations.weight_norm(nn.Conv2d(inputs, channels, kernel, (1, stride), (kernel[0] // 2, kernel[1] // 2)))
                for inputs, kernel, stride in shapes))
            stack[-1].append(nn.utils.parametrizations.weight_norm(nn.Conv2d(channels, 1, 3, padding=1)))
        self.stacks = nn.ModuleList(stack)

    def forward(self, wave: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """[B, N] -> (scores, one [B, 1, T, F] per resolution; the features under them)."""
        scores, features = [], []
        for (fft, hop), bins, stack in zip(self.resolutions, self.bins, self.stacks, strict=True):
            spectrum = torch.fft.rfft(wave.unfold(-1, fft, hop) * getattr(self, f"window_{fft}"))[..., :bins] * (4 / fft)
            # square-root magnitudes: quiet formants weigh in, and the phase stays
            scale = (spectrum.real.square() + spectrum.imag.square() + 1e-6).pow(-0.25)
            x = torch.stack((spectrum.real * scale, spectrum.imag * scale), 1).contiguous(memory_format=torch.channels_last)
            *layers, last = cast(nn.ModuleList, stack)
            for layer in layers:
                x = F.leaky_relu(layer(x), 0.1)
                features.append(x)
            scores.append(last(x))
        return scores, features


def critic_loss(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """Least squares: real scores to 1, fake ones to 0."""
    return torch.stack([(1 - r.float()).square().mean() + f.float().square().mean() for r, f in zip(real, fake, strict=True)]).mean()


def adversarial_loss(fake: list[torch.Tensor]) -> torch.Tensor:
    """What the decoder wants: its scores at 1."""
    return torch.stack([(1 - f.float()).square().mean() for f in fake]).mean()


def feature_loss(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """Mean distance of the critic's features, relative to their size."""
    distances = [(r.float() - f.float()).abs().mean() / r.float().abs().mean().clamp(min=1e-4) for r, f in zip(real, fake, strict=True)]
    return torch.stack(distances).mean()
