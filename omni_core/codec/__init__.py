"""Codecs: waveform <-> frames of 7 codes. `CausalCodec` is nano's."""

from omni_core.codec.base import FRAME_CODES, FRAME_SAMPLES, SAMPLE_RATE, Codec, StreamDecoder
from omni_core.codec.causal import CausalCodec
from omni_core.codec.frames import pack_frames, repair_frames, unpack_frames

__all__ = ["FRAME_CODES", "FRAME_SAMPLES", "SAMPLE_RATE", "CausalCodec", "Codec", "StreamDecoder", "pack_frames", "repair_frames", "unpack_frames"]
