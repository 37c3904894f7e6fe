import numpy as np
import pytest
import torch

from omni_core.datagen import augment


@pytest.fixture
def tone():
    return (0.1 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)


@pytest.mark.parametrize("snr_db", [0, 10, 30])
@pytest.mark.parametrize("noise_samples", [500, 16_001, 100_000])
def test_noise_has_the_asked_ratio(tone, snr_db, noise_samples):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(noise_samples).astype(np.float32)
    noisy = augment.add_noise(tone, noise, snr_db, rng)
    assert noisy.shape == tone.shape
    ratio = 10 * np.log10(np.square(tone).sum() / np.square(noisy - tone).sum())
    assert ratio == pytest.approx(snr_db, abs=0.05)


def test_coloured_noise_falls_with_frequency():
    noise = augment.coloured_noise(64_000, augment.NOISES["brown"], np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2  # bins of 0.25 Hz
    octaves = [power[hz * 4 : hz * 8].mean() for hz in (200, 400, 800)]
    assert octaves[0] / octaves[1] == pytest.approx(4, rel=0.3)
    assert octaves[1] / octaves[2] == pytest.approx(4, rel=0.3)


def test_band_limit_removes_what_is_outside(tone):
    assert np.abs(augment.band_limit(tone, 500, 4000)).max() < 1e-3
    np.testing.assert_allclose(augment.band_limit(tone, 100, 4000), tone, atol=1e-6)


def test_a_room_only_adds_after_the_sound(tone):
    silent_start = np.concatenate([np.zeros(800, np.float32), tone])
    wet = augment.reverberate(silent_start, 0.3, 0.5, np.random.default_rng(0))
    assert wet.shape == silent_start.shape
    assert np.abs(wet[:800]).max() < 1e-6


def test_overdrive_cuts_the_peaks_and_nothing_else(tone):
    cut = augment.overdrive(tone, 6)
    assert np.abs(cut).max() == pytest.approx(0.05, rel=0.01)
    low = np.abs(tone) < 0.05
    np.testing.assert_array_equal(cut[low], tone[low])


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_pitch_and_length_together(tone, factor):
    fast = augment.change_speed(tone, factor)
    assert len(fast) == pytest.approx(16_000 / factor, abs=1)
    assert np.abs(np.fft.rfft(fast, 16_000)).argmax() == pytest.approx(440 * factor, abs=2)


def test_distorted_clips_stay_finite_float32(tone):
    rng = np.random.default_rng(0)
    noises = augment.noise_bank([tone], rng)
    for _ in range(100):
        wave = augment.distort_wave(tone, noises, rng)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        assert 0.9 * 16_000 / 1.1 < len(wave) < 16_000 / 0.9 + 16_000


def test_stretch_and_warp_keep_what_they_should():
    power = torch.rand(50, 80)
    assert augment.stretch_mel(power, 1.2).shape == (60, 80)
    torch.testing.assert_close(augment.stretch_mel(power, 1.0), power)
    torch.testing.assert_close(augment.warp_mel(power, 1.0), power)
    peak = torch.zeros(1, 80)
    peak[0, 40] = 1
    assert augment.warp_mel(peak, 1.25).argmax() == 50


def test_distortions_follow_from_the_seed(tone):
    noises = [augment.coloured_noise(8000, 1.0, np.random.default_rng(1))]
    waves = [augment.distort_wave(tone, noises, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(waves[0], waves[1])
    assert len(waves[0]) != len(waves[2])
    power = torch.rand(50, 80)
    torch.testing.assert_close(augment.distort_mel(power, np.random.default_rng(5)), augment.distort_mel(power, np.random.default_rng(5)))
