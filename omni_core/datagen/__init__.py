"""Spoken training data made on this machine: voices, sentences, waveforms, labels, augmentation.

Owns what is said and how it sounds. Doesn't own features, codes or weights: `omni_core.training` makes those.
"""
