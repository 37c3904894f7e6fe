"""The echo guard: takes the assistant's own voice, as a loudspeaker gives it back, out of what speech detection hears.

The server knows what it plays sample by sample, not when, how loud and through what room the microphone hears it. The guard finds the delay by
correlation, follows the room with an adaptive filter, and says which sound echo and noise don't explain: only there can somebody speak. What an
interruption is, the session decides, and what the model hears is the microphone as it was.
"""

from __future__ import annotations

import numpy as np

from omni_core.audio.echo_path import BANDS, BLOCK, PARTITIONS, RATE, Path, Powers, Split, Wave, band_powers, find

LONGEST_DELAY = 16_800  #: samples from when playback can be heard at the earliest to when its echo begins (0.7 s)
FURTHEST_AHEAD = 30 * RATE  #: samples of playback after the newest of the microphone that are kept

_HISTORY = 16  # blocks in which a new room is learnt at once, and noise is looked for (256 ms)
_FIRST_FOUND = 0.35  # correlation over _HISTORY of an echo by an unknown way
_PATIENCE = 64  # blocks in which something is played (1 s): where no echo was found by then, there is none
_RECENT = 6  # blocks in which a known delay is looked for again (96 ms): a voice that begins has no more yet
_FOUND = 0.3  # correlation over _RECENT of an echo: other speech stays below in 98 of 100 cases, an echo in a room is above in most
_NEAR, _FAR = 1_680, 0.8  # samples by which a delay may jump (70 ms); further away, so much of the correlation counts
_SAME_DELAY = 144  # samples: what the filter follows by itself
_FIRST_BETTER, _BETTER = 0.75, 0.6  # of the energy that no way, or the known one, leaves: what another may leave to be taken instead

_TINY = np.float32(1e-5)  # power of a band that nobody hears
_QUIETEST = 1e-6 * BLOCK * BLOCK  # power of a block that is nobody's speech (-60 dB of full scale)
_REVERBERATION = np.float32(0.85)  # a block: how slowly an echo dies away, beyond what the filter covers
_NOISE_RISE, _NOISE_SPREAD = np.float32(1.011), 6.0  # a block; single blocks of noise over the quietest
_LEAK, _LEAST_LEAK, _MOST_LEAK = -1.0, -1.7, 0.0  # log10 of what the filter leaves of an echo: at first, at least, at most
_LEAK_RATE = 0.02  # a block; a tenth of it while somebody may speak

_CLEARLY = 0.25  # powers of ten by which a block must exceed what explains it
_OPENS, _CLOSES, _MOST = 1.0, 0.2, 2.5  # evidence that somebody speaks, summed over blocks, at most 1 each
_LEAST_BLOCKS = 4  # that aren't explained: an echo whose delay has changed is recognised within these (64 ms)


class EchoGuard:
    """One microphone and the loudspeaker near it; costs about 0.4 ms of one core for 32 ms of sound, nothing while nothing is played.

    Positions count the microphone's samples. Everything kept is bounded: 0.3 s of sound, the filter, and playback as `played` says.
    """

    def __init__(self) -> None:
        self._playback = 0, np.zeros(0, np.float32)  # where it begins, and what it is: one value, for `push` may run in another thread
        self._path: Path | None = None
        self._lag = 0  # where correlation found the path
        self._waited = 0  # blocks in which something was played without an echo
        self._leak = np.full(BANDS, _LEAK)
        self._explained: list[int] = []  # where blocks begin in which nobody speaks, of the newest push
        self._begin(0)

    def played(self, pcm: Wave, at: int) -> None:
        """`pcm`, float32 [n] at 24 kHz, is heard from the microphone's sample `at` on at the earliest, instead of whatever was due from there on.

        An answer that is cut off is said with an empty `pcm`. What is due more than `FURTHEST_AHEAD` after the newest sample pushed is dropped.
        """
        oldest = self._position - LONGEST_DELAY - (PARTITIONS + _HISTORY + 1) * BLOCK
        end = min(at + len(pcm), self._position + FURTHEST_AHEAD)
        line = self._heard_from(oldest, max(end, oldest))
        line[max(at - oldest, 0) :] = 0
        if end > max(at, oldest):
            line[max(at - oldest, 0) :] = pcm[max(oldest - at, 0) : end - at]
        self._playback = oldest, line

    def push(self, pcm: Wave, at: int) -> Wave:
        """The microphone's float32 [m] at 24 kHz from sample `at` on, without what is known of its echo.

        While nothing played can be heard these are the same samples. Otherwise whole blocks: up to 15 ms wait for the next push. Sound that
        doesn't follow the sound before is a new beginning in the same room, and nothing waits any more.
        """
        if at != self._position + len(self._pending):
            self._begin(at)
        if len(self._pending):
            pcm = np.concatenate([self._pending, pcm])
        self._explained = [begin for begin in self._explained if begin > self._position - 4 * BLOCK]
        if not self._echoes(self._position + len(pcm)):
            self._pending = pcm[:0]
            return self._pass(pcm)
        blocks, self._pending = np.split(pcm, [len(pcm) // BLOCK * BLOCK])
        return np.concatenate([blocks[:0], *(self._block(block) for block in blocks.reshape(-1, BLOCK))])

    def explains(self, begin: int, end: int) -> bool:
        """Whether echo and noise explain most of a stretch of 32 ms that the last `push` gave."""
        return sum(begin < each + BLOCK and each < end for each in self._explained) * BLOCK >= end - begin

    def _begin(self, position: int) -> None:
        self._position = position
        self._pending = np.zeros(0, np.float32)
        self._microphone = np.zeros(_HISTORY * BLOCK, np.float32)
        self._rest = np.zeros(_HISTORY * BLOCK, np.float32)  # the same without its echo
        self._calm()

    def _calm(self) -> None:
        """No echo to be heard."""
        self._noise = np.zeros(BANDS, np.float32)
        self._alert = False  # the noise is known
        self._echo = np.zeros(BANDS, np.float32)
        self._doubtful = 0  # blocks that are not explained, lately
        self._evidence = 0.0
        self._open = False  # somebody speaks
        self._is_echo = False  # what isn't explained is found in the playback
        self._next_search = 0

    def _heard_from(self, begin: int, end: int) -> Wave:
        """Playback due in [begin, end), silence where there is none."""
        first, line = self._playback
        wave = np.zeros(end - begin, np.float32)
        low, high = max(begin, first), min(end, first + len(line))
        if low < high:
            wave[low - begin : high - begin] = line[low - first : high - first]
        return wave

    def _echoes(self, end: int) -> bool:
        """Something played may be heard in the microphone's sound from here to `end`."""
        first, line = self._playback
        begin = self._position - LONGEST_DELAY - PARTITIONS * BLOCK
        return begin < first + len(line) and bool(line[max(0, begin - first) : max(0, end - first)].any())

    def _pass(self, pcm: Wave) -> Wave:
        self._position += len(pcm)
        self._microphone = np.concatenate([self._microphone, pcm])[-_HISTORY * BLOCK :]
        self._rest = np.concatenate([self._rest, pcm])[-_HISTORY * BLOCK :]
        self._calm()
        return pcm

    def _block(self, microphone: Wave) -> Wave:
        if not self._echoes(self._position + BLOCK):
            return self._pass(microphone)
        begin, self._position = self._position, self._position + BLOCK
        self._microphone = np.concatenate([self._microphone[BLOCK:], microphone])
        if not self._alert:
            self._alert = True
            self._noise = band_powers(self._microphone.reshape(_HISTORY, BLOCK)).min(0)
            self._leak = np.maximum(self._leak, _LEAK)
            if self._path:
                self._path.restart(self._heard_from(*self._path.needs(begin - BLOCK, PARTITIONS)))
        self._waited += bool(self._heard_from(begin, self._position).any())
        heard = band_powers(microphone)
        nothing = np.zeros(BANDS, np.float32)
        split = self._follow(self._path, begin, microphone) if self._path else Split(microphone, heard, nothing, nothing)
        excess = self._excess(split, heard)
        self._doubtful = self._doubtful + 1 if excess > _CLEARLY else max(0, self._doubtful - 1)
        self._rest = np.concatenate([self._rest[BLOCK:], split.rest if split.power.sum() < heard.sum() else microphone])
        if excess > _CLEARLY and begin >= self._next_search:
            self._next_search = begin + 2 * BLOCK  # every other block: it costs as much as the rest
            found = self._search()
            if found is not None:
                self._rest[-BLOCK:] = found.rest
                excess = self._excess(found, heard)
        elif excess <= _CLEARLY:
            self._is_echo = False
        self._weigh(excess)
        self._noise = np.minimum(_NOISE_RISE * self._noise + _TINY / 10_000, heard)
        if not (self._open or self._hopeless):
            self._explained.append(begin)
        return self._rest[-BLOCK:]

    @property
    def _hopeless(self) -> bool:
        """No echo comes: the user wears headphones, or has an echo canceller."""
        return self._path is None and self._waited > _PATIENCE

    def _follow(self, path: Path, begin: int, microphone: Wave) -> Split:
        return path.follow(microphone, self._heard_from(*path.needs(begin)))

    def _excess(self, split: Split, heard: Powers) -> float:
        """How far what the filter left exceeds what echo and noise explain: the mean of log10 over bands. Learns how much the filter leaves."""
        self._echo = np.maximum(split.echo, _REVERBERATION * self._echo)
        left = np.minimum(split.power, heard) + _TINY
        explained = 10**self._leak * self._echo + split.doubt + _NOISE_SPREAD * self._noise + _TINY
        excess = float(np.log10(left / explained).mean()) if heard.sum() > _QUIETEST else -1.0
        rate = _LEAK_RATE if excess < _CLEARLY else _LEAK_RATE / 10
        leak = self._leak + rate * np.clip(np.log10(left / (self._echo + _TINY)) - self._leak, -1, 1)
        audible = self._echo > 20 * self._noise + 10 * _TINY
        self._leak = np.where(audible, np.clip(leak, _LEAST_LEAK, _MOST_LEAK), self._leak)
        return excess

    def _weigh(self, excess: float) -> None:
        """Sum up the evidence that somebody else speaks."""
        if self._is_echo:
            self._doubtful, self._evidence = 0, 0.0
        else:
            self._evidence = min(_MOST, max(0.0, self._evidence + min(1.0, max(-1.0, excess - _CLEARLY))))
        self._open = self._evidence > _CLOSES if self._open else self._evidence > _OPENS and self._doubtful >= _LEAST_BLOCKS

    def _search(self) -> Split | None:
        """Is what is not explained an echo by another way? If so and that way explains it better, go on with it: gives this block by it."""
        recent = self._rest[-_RECENT * BLOCK :] if self._path else self._rest
        played = self._heard_from(self._position - len(recent) - LONGEST_DELAY, self._position)
        lag, correlation = find(recent, played, self._lag if self._path else None, _NEAR, _FAR)
        self._is_echo = correlation > (_FOUND if self._path else _FIRST_FOUND)
        if not self._is_echo or (self._path and abs(lag - self._lag) <= _SAME_DELAY):
            return None
        ways = [Path(lag), *([self._path.moved(lag - self._lag)] if self._path else [])]
        energy, split, path = min(((*self._replay(way), way) for way in ways), key=lambda trial: trial[0])
        if energy > (_BETTER if self._path else _FIRST_BETTER) * float(np.square(self._rest[len(self._rest) // 2 :]).sum()):
            return None
        self._path, self._lag = path, lag
        self._leak = np.maximum(self._leak, _LEAK)
        return split

    def _replay(self, path: Path) -> tuple[float, Split]:
        """Teach `path` the history; gives the energy that it leaves in the later half, and the newest block."""
        begin = self._position - _HISTORY * BLOCK
        path.restart(self._heard_from(*path.needs(begin - BLOCK, PARTITIONS)))
        blocks = self._microphone.reshape(-1, BLOCK)
        splits = [self._follow(path, begin + index * BLOCK, block) for index, block in enumerate(blocks)]
        return sum(float(split.rest @ split.rest) for split in splits[_HISTORY // 2 :]), splits[-1]
