"""Make `tests/data/turning.mp4`: the embedded sample's character turns its head away, to the profile.

python scripts/make_turning.py tests/data/turning.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
from make_sample import add_film, write_picture
from sample_face import Pose
from sample_picture import Character

from personatalk.geometry.morphable_model import MorphableModel

FRAMES, MOST, SIDE = 24, 80.0, 256
"""How many, the angle of the last in degrees, and the side of the pictures."""


def pose(number: int) -> Pose:
    """The head turns evenly; the mouth opens and closes once in half a second."""
    turn = np.array([0.0, np.radians(MOST) * number / (FRAMES - 1), 0.0])
    return Pose(float(0.07 * (1 - np.cos(2 * np.pi * number / 12))), 0.0, -0.12, 0.0, turn, np.zeros(2))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    character = Character(MorphableModel.load(), 3)
    with av.open(str(parser.parse_args().output), "w") as out:
        film = add_film(out, SIDE, crf=20)
        for number in range(FRAMES):
            write_picture(out, film, character.picture(pose(number)), number)
        out.mux(film.encode(None))


if __name__ == "__main__":
    main()
