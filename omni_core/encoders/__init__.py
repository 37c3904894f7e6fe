"""Encoders: waveforms and pictures to features. `base` says what an audio encoder promises."""
