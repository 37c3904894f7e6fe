"""Is a request one that this engine can serve? What can be seen without a tensor, so that callers are told before anything is queued."""

from __future__ import annotations

import numpy as np

from omni_core.engine.request import SAMPLE_RATE, EngineInfo, GenerateRequest
from omni_core.errors import AudioError, ImageError, InputError, TaskError, TextError


def check_request(request: GenerateRequest, info: EngineInfo) -> None:
    """Raises an InputError that names what is wrong with `request`: the task, an input missing or too many, or an unusable input."""
    task = request.task
    if task not in info.tasks:
        raise TaskError(f"model {info.model} can't do {task}: it does {', '.join(info.tasks)}")
    if request.max_steps < 1:
        raise InputError(f"max_steps is {request.max_steps}: allow at least one step")
    if request.audio is not None and request.turn is not None:
        raise AudioError("audio and a turn were given: leave one of them out")
    inputs = (
        ("audio", task.needs_audio, request.audio is not None or request.turn is not None, AudioError),
        ("image", task.needs_image, request.image is not None, ImageError),
        ("text", task.needs_text, request.text is not None, TextError),
    )
    for name, needed, given, error in inputs:
        if needed and not given:
            raise error(f"task {task} needs {name}: none was given")
        if given and not needed:
            raise TaskError(f"task {task} takes no {name}: leave it out, or choose another task")
    if request.text is not None:
        if not request.text.strip():
            raise TextError("the text is empty: write something")
        check_unicode(request.text, "the text")
    for number, turn in enumerate(request.history):
        _check_exchange(turn, number)
    if request.image is not None and not request.image:
        raise ImageError("the picture is empty: send the bytes of a PNG or JPEG file")
    if request.audio is not None:
        _check_audio(request.audio, request.sample_rate)
        _check_length(len(request.audio) / request.sample_rate, info.max_audio_s)
    if request.turn is not None:
        _check_length(request.turn[1] / SAMPLE_RATE, info.max_audio_s)


def _check_exchange(turn: object, number: int) -> None:
    if not isinstance(turn, tuple | list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
        raise TextError(f"history[{number}] is no pair of texts: give (question, answer), and an empty question where it is not known")
    if not turn[1].strip():
        raise TextError(f"history[{number}] has no answer: leave that turn out")
    for text in turn:
        check_unicode(text, f"history[{number}]")


def check_unicode(text: str, what: str) -> None:
    """Raises TextError for half a surrogate pair, which JSON may escape, and which can be neither encoded nor read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"{what} holds half a surrogate pair at character {error.start}: send well-formed Unicode") from None


def check_turn(turn: tuple[str, int], pushed: int | None) -> None:
    """Can a prompt be the first `turn[1]` samples of a turn of `pushed` samples (None: not open)? Raises AudioError if not."""
    id, samples = turn
    if pushed is None:
        raise AudioError(f"turn {id!r} is not open: begin it with hear(), or send its audio with the request")
    if not 0 < samples <= pushed:
        raise AudioError(f"{samples} samples of turn {id!r} were asked for, {pushed} were pushed: ask for 1 to {pushed}")


def _check_audio(audio: np.ndarray, sample_rate: int) -> None:
    if sample_rate <= 0:
        raise AudioError(f"the audio's sample rate is {sample_rate} Hz: give the rate it was recorded at")
    if audio.ndim != 1 or audio.dtype.kind != "f":
        raise AudioError(f"the audio must be one channel of floating-point samples, got shape {audio.shape} of {audio.dtype}")
    if not len(audio):
        raise AudioError("the audio is empty: it holds no samples")
    if not np.isfinite(audio).all():
        raise AudioError("the audio holds samples that are not finite numbers")


def _check_length(seconds: float, max_audio_s: float | None) -> None:
    if max_audio_s is not None and seconds > max_audio_s:
        raise AudioError(f"the audio is {seconds:.1f} s long, the model hears at most {max_audio_s:g} s: send a shorter turn")
