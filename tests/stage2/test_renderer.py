"""Stage 2: the fast renderer against the plain formula, what may answer which question, and the ablations."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.exported import renderer_runtime
from helpers.renderer_formula import map_tensors, render_by_formula, to_bytes, to_tensor
from helpers.synthetic import face_in_crop, psnr, smooth_picture

from personatalk.geometry.masks import cells, lip_region
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.attention import GeometricAttention
from personatalk.stage2.geometry_map import CELL_SIZE, ArrayMap, geometry_map
from personatalk.stage2.reference_cells import Reference, merge_references
from personatalk.stage2.regions import Box, bounding_box, pixel_box
from personatalk.stage2.renderer import Renderer
from personatalk.stage2.runtime import RendererRuntime
from personatalk.utils.arrays import Array, Image
from personatalk.utils.devices import available_devices

SIZE = 128
FULL = 256


def renderer(size: int = SIZE, **options: bool) -> Renderer:
    """A network off its tidy start, where residuals and learned keys are still silent, and with much contrast."""
    torch.manual_seed(0)
    network = Renderer(channels=16, width=16, size=size, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for part, gain in ((network.decoder, 1.3), (network.texture_encoder, 3.0)):
            for parameter in part.parameters():
                parameter.mul_(gain if parameter.ndim > 1 else 1.0)
        for parameter in network.parameters():
            parameter.copy_(parameter.half())  # as files keep them
    return network


@functools.cache
def runtime(size: int = SIZE, **options: bool) -> RendererRuntime:
    """The same network, ready to render."""
    return renderer_runtime(renderer(size, **options))


@dataclass(frozen=True)
class Scene:
    """A target, and references with open and closed mouths."""

    vertices: list[Array]
    maps: list[ArrayMap]
    crops: list[Image]
    target: ArrayMap
    target_vertices: Array

    @property
    def mask(self) -> np.ndarray:
        return self.target.face

    def textured(self, network: RendererRuntime, changed: dict[int, Image] | None = None) -> list[Reference]:
        crops = [(changed or {}).get(i, crop) for i, crop in enumerate(self.crops)]
        return network.encode(crops, self.maps)


def make_scene(model: MorphableModel, size: int) -> Scene:
    gaps = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
    vertices = [face_in_crop(model, size, gap, (0, 0.04 * i, 0)) for i, gap in enumerate(gaps)]
    maps = [geometry_map(model, v, size) for v in vertices]
    crops = [smooth_picture(size, size, 2, seed=i) for i in range(len(gaps))]
    target_vertices = face_in_crop(model, size, 0.12, (0.05, 0.1, 0))
    return Scene(vertices, maps, crops, geometry_map(model, target_vertices, size), target_vertices)


@pytest.fixture(scope="module")
def scene(model: MorphableModel) -> Scene:
    return make_scene(model, SIZE)


@pytest.fixture(scope="module")
def full_scene(model: MorphableModel) -> Scene:
    return make_scene(model, FULL)


def whole(size: int) -> Box:
    return slice(0, size // CELL_SIZE), slice(0, size // CELL_SIZE)


def difference(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b)[where].max())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"use_lip": False}, {"use_face": False}], ids=["full", "face", "lip"])
def test_the_fast_renderer_equals_the_formula(full_scene: Scene, options: dict[str, bool]) -> None:
    scene, network = full_scene, runtime(FULL, **options)
    references = scene.textured(network)
    plain = [(to_tensor(crop), map_tensors(drawn)) for crop, drawn in zip(scene.crops, scene.maps, strict=True)]
    fast = network.render(scene.target, references[2:5], references[4:])
    slow = render_by_formula(renderer(FULL, **options), map_tensors(scene.target), plain[2:5], plain[4:])
    assert fast.shape == slow.shape == (FULL, FULL, 3)
    assert slow[scene.mask > 0.5].std() > 5, "a flat picture: the test is void"
    assert difference(fast, slow, scene.mask > 0.5) <= 2


@pytest.mark.slow
def test_a_batch_equals_single_faces(full_scene: Scene) -> None:
    scene, network = full_scene, runtime(FULL)
    references = scene.textured(network)
    targets = [scene.target, scene.maps[0], scene.maps[5]]
    box = bounding_box(np.any([target.region for target in targets], axis=0), 2)
    pixels = pixel_box(box)
    maps = [map_tensors(drawn) for drawn in scene.maps]
    with torch.inference_mode():
        textures = torch.stack([to_tensor(crop) for crop in scene.crops])
        encoded = renderer(FULL).encode_references(textures, maps)
        drawn = [map_tensors(target) for target in targets]
        together = renderer(FULL)(drawn, encoded[:3], encoded[3:], box)
    for target, picture in zip(targets, together, strict=True):
        single = network.render(target, references[:3], references[3:])[pixels]
        assert difference(to_bytes(picture), single, target.face[pixels] > 0.5) <= 2


def test_all_of_the_mask_is_rendered(scene: Scene) -> None:
    network = runtime()
    references = scene.textured(network)
    got = network.render(scene.target, references[:3], references[3:])
    assert (got[scene.mask > 0].max(axis=1) > 0).mean() > 0.99


@pytest.mark.parametrize("side", ["lips", "faces"])
def test_the_order_of_references_does_not_matter(scene: Scene, side: str) -> None:
    network = runtime()
    references = scene.textured(network)
    lips, faces = references[:4], references[3:]
    plain = network.render(scene.target, lips, faces)
    turned = (lips[::-1], faces) if side == "lips" else (lips, faces[::-1])
    assert difference(network.render(scene.target, *turned), plain, scene.mask > 0) <= 1


def test_encoding_together_equals_one_by_one(scene: Scene) -> None:
    network = runtime()
    together = scene.textured(network)
    for i, reference in enumerate(together):
        single = network.encode([scene.crops[i]], [scene.maps[i]])[0]
        for name, table in single.pack().items():
            np.testing.assert_array_equal(table, reference.pack()[name])


def test_any_number_of_references_will_do(scene: Scene) -> None:
    network = runtime()
    references = scene.textured(network)
    one = network.render(scene.target, references[:1], references[:1])
    twice = network.render(scene.target, references[:1] * 2, references[:1] * 5)
    assert difference(one, twice, scene.mask > 0) <= 1


def inverted(scene: Scene, references: range, where: list[np.ndarray] | None = None) -> dict[int, Image]:
    """Crops with inverted colours, all over or where wanted."""
    changed = {}
    for i in references:
        crop = scene.crops[i].copy()
        chosen = np.ones(crop.shape[:2], bool) if where is None else where[i]
        crop[chosen] = 255 - crop[chosen]
        changed[i] = crop
    return changed


def test_lips_and_face_take_texture_from_their_own_references(scene: Scene) -> None:
    network = runtime()
    plain = scene.textured(network)
    other = scene.textured(network, inverted(scene, range(6)))
    base = network.render(scene.target, plain[:3], plain[3:]).astype(int)
    lip_changed = network.render(scene.target, other[:3], plain[3:]).astype(int)
    face_changed = network.render(scene.target, plain[:3], other[3:]).astype(int)
    lips = cv2.resize(scene.target.lips, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    inside, outside = lips == 1, (cv2.dilate(lips, np.ones((33, 33))) == 0) & (scene.mask > 0.5)
    assert inside.sum() > 50
    assert outside.sum() > 50
    assert np.abs(lip_changed - base)[inside].mean() > 1
    assert np.abs(lip_changed - base)[outside].max() <= 1
    assert np.abs(face_changed - base)[outside].mean() > 1


def lip_hulls(model: MorphableModel, scene: Scene, size: int) -> list[np.ndarray]:
    hulls = []
    for vertices in scene.vertices:
        mask = np.zeros((size, size), np.uint8)
        hull = cv2.convexHull(vertices[model.lips, :2].round().astype(np.int32))
        hulls.append(cv2.fillConvexPoly(mask, hull, 1).astype(bool))
    return hulls


def test_the_old_lips_do_not_leak_from_face_references(model: MorphableModel, full_scene: Scene) -> None:
    network = runtime(FULL)
    plain = full_scene.textured(network)
    hulls = lip_hulls(model, full_scene, FULL)
    old_lips = full_scene.textured(network, inverted(full_scene, range(3, 6), hulls))
    base = network.render(full_scene.target, plain[:3], plain[3:])
    leaked = network.render(full_scene.target, plain[:3], old_lips[3:])
    np.testing.assert_array_equal(leaked, base)
    cheeks = full_scene.textured(network, inverted(full_scene, range(3, 6)))
    assert difference(network.render(full_scene.target, plain[:3], cheeks[3:]), base, full_scene.mask > 0.5) > 2


@pytest.mark.slow
def test_without_lip_attention_the_faces_references_do_it_all(model: MorphableModel, scene: Scene) -> None:
    network = runtime(use_lip=False)
    plain, other = scene.textured(network), scene.textured(network, inverted(scene, range(6)))
    base = network.render(scene.target, plain[:3], plain[3:])
    np.testing.assert_array_equal(network.render(scene.target, other[:3], plain[3:]), base)
    lips = scene.textured(network, inverted(scene, range(6), lip_hulls(model, scene, SIZE)))
    assert difference(network.render(scene.target, plain[:3], lips[3:]), base, scene.mask > 0.5) > 2


@pytest.mark.slow
def test_without_face_attention_the_lips_references_do_it_all(model: MorphableModel, scene: Scene) -> None:
    network = runtime(use_face=False)
    plain, other = scene.textured(network), scene.textured(network, inverted(scene, range(6)))
    base = network.render(scene.target, plain[:3], plain[3:])
    np.testing.assert_array_equal(network.render(scene.target, plain[:3], other[3:]), base)
    assert difference(network.render(scene.target, other[:3], plain[3:]), base, scene.mask > 0.5) > 2
    # The face has to come from somewhere: the lip references' cheeks must be able to answer.
    beyond = [cv2.dilate(lip_region(model, v, SIZE), np.ones((17, 17))) == 0 for v in scene.vertices]
    cheeks = scene.textured(network, inverted(scene, range(6), beyond))
    target_lips = lip_region(model, scene.target_vertices, SIZE)
    asked = (scene.mask > 0.5) & (cv2.dilate(target_lips, np.ones((25, 25))) == 0)
    by_cheeks, by_all = (
        np.abs(network.render(scene.target, lips[:3], plain[3:]).astype(int) - base)[asked].mean()
        for lips in (cheeks, other)
    )
    assert by_cheeks > 0.5 * by_all


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"use_lip": False}, {"use_face": False}], ids=["full", "face", "lip"])
def test_all_parameters_learn(scene: Scene, options: dict[str, bool]) -> None:
    network = renderer(**options).train()
    textures = torch.stack([to_tensor(crop) for crop in scene.crops])
    maps, target = [map_tensors(drawn) for drawn in scene.maps], map_tensors(scene.target)
    lips = network.encode_references(textures[:3], maps[:3])
    faces = network.encode_references(textures[3:], maps[3:])
    picture = network([target], lips, faces, whole(SIZE))
    weight = target.face * torch.rand(3, SIZE, SIZE)
    (picture[0] * weight).sum().backward()  # type: ignore[no-untyped-call]
    idle = {"use_lip": "lip_attention", "use_face": "face_attention"}
    unused = tuple(prefix for option, prefix in idle.items() if not options.get(option, True))
    for name, parameter in network.named_parameters():
        if unused and name.startswith(unused):
            continue
        # A bias of the keys shifts all scores of a query alike.
        if name.endswith("attention.key.bias"):
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert torch.isfinite(parameter.grad).all(), name


def test_at_the_start_a_reference_of_the_same_geometry_is_copied(scene: Scene) -> None:
    torch.manual_seed(0)
    network = Renderer(channels=16, width=16, size=SIZE).eval()
    i = 4
    drawn = map_tensors(scene.maps[i])
    with torch.inference_mode():
        (reference,) = network.encode_references(to_tensor(scene.crops[i])[None], [drawn])
        latent = network.sample([drawn], [reference], [reference])[0]
        texture = network.texture_encoder(to_tensor(scene.crops[i])[None] - 0.5)[0]
        inside = torch.from_numpy(cells(scene.maps[i].face, SIZE // CELL_SIZE) == 1)
        got, wanted = latent[:, inside], texture[:, inside]
    correlation = np.corrcoef(got.numpy().ravel(), wanted.numpy().ravel())[0, 1]
    assert correlation > 0.8


@pytest.mark.slow
def test_another_crop_size_resamples_the_positions(full_scene: Scene) -> None:
    scene, network = full_scene, runtime(SIZE)
    references = scene.textured(network)
    got = network.render(scene.target, references[2:5], references[4:])
    plain = [(to_tensor(crop), map_tensors(drawn)) for crop, drawn in zip(scene.crops, scene.maps, strict=True)]
    wanted = render_by_formula(renderer(SIZE), map_tensors(scene.target), plain[2:5], plain[4:])
    assert got.shape == (FULL, FULL, 3)
    assert difference(got, wanted, scene.mask > 0.5) <= 2


@pytest.mark.slow
def test_save_and_load(scene: Scene, tmp_path: Path) -> None:
    network = renderer(use_face=True)
    path = tmp_path / "stage2.safetensors"
    network.save(path)
    read = Renderer.load(path)
    assert read.config == network.config
    assert not read.training
    ready = [renderer_runtime(n) for n in (network, read)]
    a, b = (n.render(scene.target, scene.textured(n)[:3], scene.textured(n)[3:]) for n in ready)
    assert difference(a, b, scene.mask > 0.5) <= 3
    with torch.no_grad():
        network.decoder.low[0].weight.zero_()
    assert not torch.equal(read.decoder.low[0].weight, network.decoder.low[0].weight)


@pytest.mark.slow
@pytest.mark.parametrize("device", sorted(available_devices() & {"openvino", "cuda"}))
def test_reduced_precision_keeps_the_image(full_scene: Scene, device: str) -> None:
    """The shipped weights on every device that may compute in less than float32."""
    images = []
    for network in (RendererRuntime(device=name) for name in ("cpu", device)):
        references = full_scene.textured(network)
        images.append(network.render(full_scene.target, references[:3], references[3:]))
    assert psnr(images[0], images[1], full_scene.mask > 0) > 45
    assert images[0][full_scene.mask > 0.5].std() > 5


def test_packed_references_come_back(scene: Scene) -> None:
    network = runtime()
    reference = scene.textured(network)[0]
    packed = reference.pack()
    assert {name: table.shape[1] for name, table in packed.items()} == Reference.table_widths(network.channels)
    again = Reference.unpack(packed)
    merged = merge_references([reference, again])
    assert merge_references([reference]) is reference
    for name, table in merged.pack().items():
        np.testing.assert_array_equal(table, np.concatenate([packed[name]] * 2))


def test_to_tensor_and_back() -> None:
    crop = smooth_picture(6, 6, 1)
    got = to_tensor(crop)
    np.testing.assert_array_equal(to_bytes(got), crop)
    assert got.shape == (3, 6, 6)
    assert float(got[2, 1, 4]) == pytest.approx(crop[1, 4, 2] / 255)


def test_sharpness_is_a_factor_on_the_scores_outside_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    attention = GeometricAttention(8, 4, 0.7, sharpness=3.0)
    latent, code, where = torch.randn(1, 8, 4, 4), torch.randn(1, 9, 4, 4), torch.ones(1, 4, 4).bool()
    with torch.no_grad():
        keys, values = attention.keys(latent, code, where), torch.randn(16, 8)
        soft = attention.train().queries(latent, code, where).pack()
        sharp = attention.eval().queries(latent, code, where)
        torch.testing.assert_close(sharp.pack(), 3 * soft)
        got = attention(sharp, keys, values)
        torch.testing.assert_close(got, attention.out(torch.softmax(3 * soft @ keys.pack().T, dim=1) @ values))
    network = Renderer(channels=8, width=16, size=64)
    assert network.lip_attention.sharpness == 1
    network.sharpen(2.5)
    network.save(tmp_path / "r.safetensors")
    read = Renderer.load(tmp_path / "r.safetensors")
    assert read.lip_attention.sharpness == read.face_attention.sharpness == read.config["sharpness"] == 2.5
