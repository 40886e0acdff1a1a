"""The renderer on batches of windows is the renderer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.synthetic import face_in_crop, smooth_picture

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.geometry_map import GeometryMap, geometry_map
from personatalk.stage2.renderer import Renderer, TensorMap
from personatalk.training.batches import judged, make_batches, render_batch
from personatalk.training.frames import SCALE, SHIFT, FrameTable
from personatalk.training.windows import Window

SIZE = 128


@pytest.fixture(scope="module")
def table(model: MorphableModel) -> FrameTable:
    gaps = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
    maps = [geometry_map(model, face_in_crop(model, SIZE, gap, (0, 0.06 * i, 0)), SIZE) for i, gap in enumerate(gaps)]
    crops = [smooth_picture(SIZE, SIZE, 3, seed).transpose(2, 0, 1) for seed in range(len(gaps))]
    return FrameTable.of(torch.from_numpy(np.stack(crops)), maps)


def window(lips: Sequence[int], targets: Sequence[int], others: Sequence[int], mouth: bool) -> Window:
    tint = np.array([1.1, 0.9, 1.0], np.float32)
    return Window(np.array(lips), np.array([2, 4]), np.array(targets), np.array(others), tint, mouth)


def drawn(table: FrameTable, frame: int, other: int | None = None) -> TensorMap:
    """The map of a frame, with another frame's region."""
    shift, scale = (torch.tensor(x)[:, None, None] for x in (SHIFT, SCALE))
    beside = frame if other is None else other
    return GeometryMap(
        table.geometry[frame] / scale - shift,
        table.codes[frame],
        table.lips[frame],
        torch.maximum(table.faces[frame], table.faces[beside]) / 255,
        table.regions[frame] | table.regions[beside],
    )


def by_window(network: Renderer, table: FrameTable, asked: Window) -> torch.Tensor:
    """The targets on whole crops, as `stage2.renderer` renders them."""
    tint = torch.from_numpy(asked.tint)[:, None, None]

    def encoded(frames: Sequence[int]) -> list:
        textures = (table.images[frames] / 255 * tint).clamp(0, 1)
        return network.encode_references(textures, [drawn(table, frame) for frame in frames])

    targets = [drawn(table, *pair) for pair in zip(asked.targets, asked.others, strict=True)]
    whole = slice(0, table.grid)
    return network(targets, encoded(asked.lips), encoded(asked.faces), (whole, whole))


@pytest.mark.parametrize("options", [{}, {"use_lip": False}, {"use_face": False}], ids=["full", "face", "lip"])
@pytest.mark.parametrize(("mouth", "bound"), [(False, 1e-3), (True, 0.05)], ids=["whole", "mouth"])
def test_a_batch_equals_its_windows(table: FrameTable, options: dict[str, bool], mouth: bool, bound: float) -> None:
    torch.manual_seed(0)
    network = Renderer(channels=16, width=16, size=SIZE, **options).eval()
    asked = [window([0, 1, 2], [3, 5], [0, 1], mouth), window([1, 4, 5], [0, 3], [2, 4], mouth)]
    with torch.inference_mode():
        (batch,) = make_batches(asked, table)
        together = render_batch(network, batch)
        for number, one in enumerate(asked):
            alone = by_window(network, table, one)
            top, left = (4 * int(x) for x in batch.rendered.start[number])
            height, width = together.shape[-2:]
            wanted = alone[:, :, top : top + height, left : left + width]
            where = (judged(batch)[number] > 0.5)[:, None].expand_as(wanted)
            assert where.sum() > 3000 and wanted[where].std() > 0.05, "a flat picture: the test is void"
            # What lies outside a mouth's box is no key there.
            assert float((together[number] - wanted)[where].abs().quantile(0.99)) < bound


def test_windows_of_both_kinds_are_put_together(table: FrameTable) -> None:
    asked = [window([0, 1, 2], [3], [0], mouth) for mouth in (True, False, True)]
    whole, mouth = make_batches(asked, table)
    assert (whole.mouth, len(whole.targets.start)) == (False, 1)
    assert (mouth.mouth, len(mouth.targets.start)) == (True, 2)
    assert mouth.rendered.images.shape[-2:] == (48, 64) and whole.rendered.images.shape[-2:] == (128, 112)
    for batch in (whole, mouth):
        lips = batch.rendered.lips
        assert float(lips.sum()) == pytest.approx(float(table.lips[3].sum()) * len(lips), rel=0.02)
        assert batch.lips.images.min() >= 0 and batch.lips.images.max() <= 1
