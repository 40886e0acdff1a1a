"""Stage 1 at work: the speaking style of a video, and the motion of the mouth to a whole speech.

A speech is generated in chunks that overlap and fade into each other, so that its length does not matter and any frame
can be asked for in any order.
"""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from ..audio.loudness import AudioSource, match_loudness
from ..audio.rates import FPS
from ..audio.voice_activity import PAUSE_FRAMES, SAMPLES_PER_FRAME, voice_activity
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array

# Frames that are generated together.
CHUNK = 200
# Frames of context on either side of a chunk, which are generated with it and dropped.
MARGIN = 50
# Frames on either side of a seam over which two chunks fade into each other.
FADE = 5
# Chunks that are kept in memory: the one in use, and its neighbours.
KEPT_CHUNKS = 3
# Largest distance in model units (3 % of that between the eyes) by which vertices may depend on the chunking: the
# attention of HuBERT's transformer sees its whole input.
CHUNKING_TOLERANCE = 0.03
# Frames from whose expressions the style is taken: a minute at 25 frames a second.
STYLE_FRAMES = 1500
# Share of the frames, those with the mouth most closed, that show the mouth at rest.
REST_SHARE = 0.1


class SpeechNetwork(Protocol):
    """Stage 1, as the dubbing and the training run it."""

    def style_of(self, offsets: Array) -> Array:
        """Embed expression displacements (T, V, 3) in model units as a speaking style, (1, D)."""
        ...

    def displacements(self, samples: Array, style: Array, template: Array) -> Array:
        """Generate geometry.

        Args:
            samples: Speech at 16 kHz, (N,).
            style: Style embedding, (1, D).
            template: The speaker's shape as displacement from the mean face, model units, (V, 3).

        Returns:
            Displacement of the vertices by the expression, model units, (N // 640, V, 3), frame j at time j / 25.
        """
        ...


def style_sample(beta: Array) -> Array:
    """Return expressions spread evenly over those of a video, (T, E) to (N, E) with N at most `STYLE_FRAMES`."""
    return beta[np.unique(np.linspace(0, len(beta) - 1, STYLE_FRAMES).astype(np.int64))]


def speaking_style(network: SpeechNetwork, model: MorphableModel, beta: Array) -> Array:
    """Embed the speaking style of a video.

    Only statistics over time enter, so a long video is represented well by frames spread over it.

    Args:
        network: Stage 1.
        model: The morphable model.
        beta: Expression coefficients, (T, E).

    Returns:
        The style embedding, (1, D).
    """
    chosen = style_sample(beta)
    if len(chosen) == 1:
        chosen = np.repeat(chosen, 2, axis=0)
    return network.style_of(model.offsets(chosen))


def generate_span(
    network: SpeechNetwork,
    samples: AudioSource,
    start: int,
    stop: int,
    style: Array,
    template: Array,
    margin: int = MARGIN,
) -> Array:
    """Generate the frames `start` to `stop` - 1 of a speech, at 25 frames a second.

    Args:
        network: Stage 1.
        samples: The whole speech at 16 kHz, loudness-normalised, (N,). Beyond its end there is silence.
        start: First frame; frame j stands for time j / 25.
        stop: Frame after the last.
        style: Style embedding, (1, D).
        template: The speaker's shape as displacement from the mean face, model units, (V, 3).
        margin: Frames of context on either side, generated and dropped.

    Returns:
        Expression displacements in model units, float32 (stop - start, V, 3).
    """
    low = max(0, start - margin)
    heard = samples[low * SAMPLES_PER_FRAME : (stop + margin) * SAMPLES_PER_FRAME]
    heard = np.pad(heard, (0, (stop + margin - low) * SAMPLES_PER_FRAME - len(heard)))
    offsets = network.displacements(heard, style, template)
    return np.ascontiguousarray(offsets[start - low : stop - low])


class ChunkedGenerator:
    """Generates a whole speech chunk by chunk on demand; threads may share it.

    Chunks lie on a fixed grid of time and fade into each other: the result does not depend on the order of the calls,
    and no seam shows.

    Args:
        network: Stage 1.
        samples: The whole speech at 16 kHz, loudness-normalised, (N,).
        style: Style embedding, (1, D).
        chunk: Frames generated together; the result depends on it by less than `CHUNKING_TOLERANCE`.
        margin: Frames of context on either side.
        kept: Chunks that are kept in memory.
    """

    def __init__(
        self,
        network: SpeechNetwork,
        samples: AudioSource,
        style: Array,
        chunk: int = CHUNK,
        margin: int = MARGIN,
        kept: int = KEPT_CHUNKS,
    ) -> None:
        self.network, self.samples, self.style = network, samples, style
        self.chunk, self.margin, self.kept = chunk, margin, kept
        self._kept: dict[tuple[int, bytes], Array] = {}
        self._lock = threading.Lock()

    def frame(self, frame: int, template: Array) -> Array:
        """Return the expression displacement (V, 3) of one frame.

        Args:
            frame: Number of the frame, from 0; the chunks on both sides of a seam are generated if needed.
            template: The speaker's shape as displacement from the mean face, model units, (V, 3).
        """
        number, place = divmod(frame, self.chunk)
        own = self._chunk(number, template)[place + FADE]
        # Half-way weights at the seam itself, and 1 from FADE frames on.
        before, after = (place + 0.5) / (2 * FADE), (self.chunk - place - 0.5) / (2 * FADE)
        if before < 0.5 and number > 0:
            other = self._chunk(number - 1, template)[place + FADE + self.chunk]
            return (0.5 + before) * own + (0.5 - before) * other
        if after < 0.5:
            other = self._chunk(number + 1, template)[place + FADE - self.chunk]
            return (0.5 + after) * own + (0.5 - after) * other
        return own

    def _chunk(self, number: int, template: Array) -> Array:
        """Return the frames of a chunk, and `FADE` more on either side."""
        key = (number, template.tobytes())
        with self._lock:
            if key not in self._kept:
                if len(self._kept) >= self.kept:
                    del self._kept[next(iter(self._kept))]
                start, stop = number * self.chunk - FADE, (number + 1) * self.chunk + FADE
                span = generate_span(self.network, self.samples, max(0, start), stop, self.style, template, self.margin)
                self._kept[key] = np.pad(span, ((stop - start - len(span), 0), (0, 0), (0, 0)))
            return self._kept[key]


def generate(
    network: SpeechNetwork,
    samples: AudioSource,
    frames: int,
    style: Array,
    template: Array,
    chunk: int = CHUNK,
    margin: int = MARGIN,
) -> Array:
    """Generate the first T frames of a speech, (T, V, 3); further arguments as in `ChunkedGenerator`."""
    speech = ChunkedGenerator(network, samples, style, chunk, margin)
    return np.stack([speech.frame(frame, template) for frame in range(frames)])


class SpeechMotion:
    """The motion of the mouth to a whole speech: generated where there is voice, at rest in silence.

    Args:
        network: Stage 1.
        samples: Speech at 16 kHz, (N,), as it was read.
        style: Style embedding, (1, D).
        rest: Displacement of the closed mouth at rest, model units, (V, 3).
        chunk: Frames generated together.
    """

    def __init__(
        self,
        network: SpeechNetwork,
        samples: AudioSource,
        style: Array,
        rest: Array,
        chunk: int = CHUNK,
    ) -> None:
        self.rest = rest
        normalised = match_loudness(samples)
        # With some silence after it, so that a speech that ends in a sound does not let the mouth snap shut.
        self.voice = voice_activity(normalised, silent=2 * PAUSE_FRAMES)
        self.speech = ChunkedGenerator(network, normalised, style, chunk)

    def displacement_at(self, time: float, template: Array) -> Array:
        """Return the displacement (V, 3) at a time.

        Args:
            time: Seconds from the start of the speech.
            template: The speaker's shape as displacement from the mean face, model units, (V, 3).
        """
        place = max(0.0, time * FPS)
        below = int(place)
        share = np.float32(place - below)
        return (1 - share) * self._frame(below, template) + share * self._frame(below + 1, template)

    def _frame(self, frame: int, template: Array) -> Array:
        voice = self.voice[frame] if frame < len(self.voice) else np.float32(0)
        if voice == 0:
            return self.rest
        return voice * self.speech.frame(frame, template) + (1 - voice) * self.rest


def rest_offsets(model: MorphableModel, beta: Array, opening: Array, share: float = REST_SHARE) -> Array:
    """Return the speaker's own mouth at rest: the mean over the frames with the mouth most closed.

    Args:
        model: The morphable model.
        beta: Expression coefficients of the usable frames, (T, E).
        opening: Mouth opening of the same frames, (T,).
        share: Share of the frames that are taken.

    Returns:
        Displacement from the mean expression, model units, (V, 3).
    """
    count = max(1, round(share * len(opening)))
    return model.offsets(beta[np.argsort(opening, kind="stable")[:count]].mean(axis=0))
