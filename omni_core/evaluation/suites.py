"""The suites of `omni eval`, and the one loop that runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from omni_core.checkpoint import Bundle
from omni_core.datagen.exchange import Split
from omni_core.datagen.manifest import Item, choose, read_manifest
from omni_core.datagen.scenes import read_material
from omni_core.errors import CheckpointError, OmniError
from omni_core.evaluation import asr, codec, qa, speech, stopping, vision
from omni_core.evaluation.asking import Asker, Track, silent
from omni_core.evaluation.results import Suite


@dataclass
class Setting:
    """What the suites measure, and on what."""

    bundle: Bundle
    data: Path = Path("data")  #: where `omni data` writes
    manifest: Path | None = None  #: None: that of `omni data test`
    questions: Path | None = None  #: the manifest of `qa` and `speech` while there is no other
    seed: int = 1
    limit: int | None = None  #: items of each suite at most
    listenable: bool = False  #: whether samples are kept
    track: Track = silent
    _read: dict[Path, list[Item]] = field(default_factory=dict)

    @cached_property
    def asker(self) -> Asker:
        """One engine for all suites."""
        return Asker(self.bundle)

    def items(self, of: Callable[[list[Item]], list[Item]], *, bundled: bool = False) -> list[Item]:
        """What `of` takes from the manifest, at most `limit`; `bundled`: the bundled questions will do."""
        path = self.manifest or self.data / "test" / "manifest.jsonl"
        if bundled and self.questions and not self.manifest and not path.is_file():
            path = self.questions
        if path not in self._read:
            self._read[path] = read_manifest(path)
        return choose(of(self._read[path]), self.limit, self.seed)


def _qa(setting: Setting) -> Suite:
    items = setting.items(qa.questions_of, bundled=True)
    return qa.run(setting.asker, items, setting.track, seed=setting.seed, listenable=setting.listenable)


def _asr(setting: Setting) -> Suite:
    return asr.run(setting.asker, setting.items(asr.clips_of), setting.track, seed=setting.seed, listenable=setting.listenable)


def _vision(setting: Setting) -> Suite:
    return vision.run(setting.asker, setting.items(vision.questions_of), setting.track, seed=setting.seed, listenable=setting.listenable)


def _speech(setting: Setting) -> Suite:
    items = setting.items(qa.questions_of, bundled=True)
    return speech.run(setting.asker, items, setting.track, seed=setting.seed, listenable=setting.listenable)


def _codec(setting: Setting) -> Suite:
    if (found := setting.bundle.codec) is None:
        raise CheckpointError(f"{setting.bundle.name}: has no codec; put one beside the model")
    return codec.run(found, setting.data / "slt" / "held_out", setting.limit, setting.track, listenable=setting.listenable)


def _irq(setting: Setting) -> Suite:
    bundle = setting.bundle
    if bundle.codec is None or bundle.listener is None:
        raise CheckpointError(f"{bundle.name}: has no {'trained listener' if bundle.codec else 'codec'}, so it can't be stopped by a word")
    material = read_material(setting.data, Split.TEST)
    return stopping.run(
        bundle.model, bundle.codec, bundle.listener, material, limit=setting.limit, seed=setting.seed, listenable=setting.listenable
    )


SUITES: dict[str, Callable[[Setting], Suite]] = {"qa": _qa, "vision": _vision, "asr": _asr, "speech": _speech, "codec": _codec, "irq": _irq}


def evaluate(names: Iterable[str], setting: Setting, *, keep_going: bool = False) -> tuple[list[Suite], dict[str, str]]:
    """Run the suites; what they found, and why each of the others could not run.

    Raises the OmniError of the first that can't run, unless `keep_going`.
    """
    suites, not_run = [], {}
    for name in names:
        try:
            suites.append(SUITES[name](setting))
        except OmniError as error:
            if not keep_going:
                raise
            not_run[name] = " ".join(str(error).split())
    return suites, not_run
