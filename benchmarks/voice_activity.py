"""Does the mouth move to speech alone? Voice activity against noise, music, hum, laughter and breath.

    python benchmarks/voice_activity.py SPEECH ... [--seconds 10] [--json RESULTS]

Each row is a kind of sound. *missed*: share of the frames with speech in which the mouth rests. *false*: share of the
frames without speech in which it moves. Truth is the loudness of the clean speech, which is followed by a pause, in
mixtures too. Each is given for the gate on loudness alone and for `voice_activity`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import made_sounds as made
import numpy as np

from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.voice_activity import loudness_gate, voice_activity, without_gaps
from personatalk.media.audio import read_speech

# Loudness of the speech over that of what is mixed with it, in dB.
RATIOS = (20, 10, 0)
# Seconds of silence after each speech; in mixtures the other sound goes on.
PAUSE = 2
# Sounds of each kind that are heard alone, and those of music, which differ more.
ALONE, PIECES = 4, 12


def sounds(speeches: list[np.ndarray], count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Kind, sound and the clean speech in it, if any."""
    white, pink, brown = (partial(made.noise, slope=slope) for slope in (0, -1, -2))
    babble = partial(made.babble, speeches=speeches)
    alone = {"white noise": white, "pink noise": pink, "brown noise": brown, "hum": made.hum, "music": made.music}
    alone |= {"laughter": made.laughter, "breath": made.breath, "knocks": made.knocks, "babble": babble}
    mixed = {"white noise": white, "pink noise": pink, "hum": made.hum, "music": made.music, "babble": babble}
    for speech in speeches:
        yield "speech", speech, speech
    for seed, speech in enumerate(speeches):
        for kind, make in mixed.items():
            for ratio in RATIOS:
                yield (
                    f"speech, {kind} at {ratio} dB",
                    speech + 10 ** (-ratio / 20) * make(len(speech), seed=seed),
                    speech,
                )
        yield "whispered speech", made.whispered(speech, seed), speech
        yield "sung speech", made.sung(speech, seed), speech
    for kind, make in alone.items():
        for seed in range(PIECES if kind == "music" else ALONE):
            yield f"{kind} alone", make(count, seed=seed), None


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=10, help="how much of each speech is taken")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    count = round(made.RATE * args.seconds)
    pause = np.zeros(PAUSE * made.RATE, np.float32)
    speeches = [np.append(normalise_loudness(read_speech(path))[:count], pause) for path in args.speech]
    # Frames with speech, and missed by either; frames without, and false in either.
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(6, np.int64))
    for kind, sound, speech in sounds(speeches, count):
        heard = normalise_loudness(sound.astype(np.float32))
        old, new = without_gaps(loudness_gate(heard)) > 0, voice_activity(heard) > 0
        truth = np.zeros(len(new), bool) if speech is None else without_gaps(loudness_gate(speech)) > 0
        frames = (truth, truth & ~old, truth & ~new, ~truth, ~truth & old, ~truth & new)
        totals[kind] += [part.sum() for part in frames]
    rows = {kind: dict(zip(COLUMNS, map(int, total), strict=True)) for kind, total in totals.items()}
    print("| sound | frames with speech | missed: gate | missed: now | without | false: gate | false: now |")
    print("|---|---|---|---|---|---|---|")
    for kind, (speaking, *missed, silent, old_false, new_false) in ((k, r.values()) for k, r in rows.items()):
        shares = [f"{100 * part / speaking:.1f} %" if speaking else "" for part in missed]
        shares_false = [f"{100 * part / silent:.1f} %" if silent else "" for part in (old_false, new_false)]
        print("|", " | ".join([kind, str(speaking), *shares, str(silent), *shares_false]), "|", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


COLUMNS = ("speaking", "missed_by_gate", "missed", "silent", "false_by_gate", "false")

if __name__ == "__main__":
    main()
