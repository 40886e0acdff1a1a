"""The Basel Face Model as geometry, and Deep3DFaceRecon's network: on a made-up file of the same format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.rasterizer import render_reference
from scipy.io import savemat
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation

from personatalk.errors import WeightsError
from personatalk.faces.analysis import tabulate
from personatalk.geometry import basel, deep3d
from personatalk.geometry.basel import load_basel_face_model, load_basel_frame
from personatalk.geometry.camera import apply_transform, invert_transform, project
from personatalk.geometry.deep3d import Deep3DCoefficients, Deep3DInitialiser, ReconNet
from personatalk.geometry.fitting import Initialiser, fit_shape, fit_shot
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.geometry.rasterizer import render
from personatalk.stage1.network import GeometryGenerator

# The picture's left half of the 68 points, in eye distances from the eyes' middle, y down, and their mirror images.
HALF = {
    **dict(enumerate([(-0.8, 0), (-0.79, 0.2), (-0.77, 0.42), (-0.73, 0.63), (-0.65, 0.83), (-0.54, 1.0)])),
    **{6: (-0.38, 1.15), 7: (-0.2, 1.27), 8: (0, 1.32)},
    **{17: (-0.66, -0.16), 18: (-0.57, -0.23), 19: (-0.44, -0.25), 20: (-0.3, -0.23), 21: (-0.15, -0.2)},
    **{27: (0, 0), 28: (0, 0.15), 29: (0, 0.3), 30: (0, 0.45), 31: (-0.16, 0.53), 32: (-0.08, 0.56), 33: (0, 0.58)},
    **{36: (-0.5, 0), 37: (-0.43, -0.04), 38: (-0.31, -0.04), 39: (-0.2, 0.02), 40: (-0.3, 0.05), 41: (-0.42, 0.045)},
    **{48: (-0.28, 0.81), 49: (-0.2, 0.77), 50: (-0.08, 0.735), 51: (0, 0.75), 57: (0, 0.96), 58: (-0.09, 0.95)},
    **{59: (-0.2, 0.88), 60: (-0.25, 0.81), 61: (-0.07, 0.815), 62: (0, 0.82), 66: (0, 0.84), 67: (-0.07, 0.835)},
}
MIRROR = {
    **{i: 16 - i for i in range(8)},
    **{i: 43 - i for i in range(17, 22)},
    **{31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 48: 54, 49: 53, 50: 52},
    **{59: 55, 58: 56, 60: 64, 61: 63, 67: 65},
}
EYES = 0.9  # dm between the outer eye corners


def keypoint_places() -> np.ndarray:
    places = np.zeros((68, 2))
    for i, (x, y) in HALF.items():
        places[i] = x, y
    for i, j in MIRROR.items():
        places[j] = -places[i, 0], places[i, 1]
    return places


def made_up_face() -> tuple[np.ndarray, np.ndarray]:
    """Vertices in dm, y up, z towards the camera, the 68 keypoints first; and triangles."""
    grid = np.stack(np.meshgrid(np.arange(-0.9, 0.91, 0.09), np.arange(-0.7, 1.5, 0.09)), -1).reshape(-1, 2)
    grid = grid[((grid - [0, 0.4]) ** 2 / [0.88**2, 1.05**2]).sum(axis=1) < 1]
    places = keypoint_places()
    far = np.linalg.norm(grid[:, None] - places, axis=-1).min(axis=1) > 0.045
    xy = np.concatenate([places, grid[far]])
    bowl = 1 - xy[:, 0] ** 2 - ((xy[:, 1] - 0.4) / 1.2) ** 2
    nose = 0.25 * np.exp(-(xy[:, 0] ** 2) / 0.02 - (xy[:, 1] - 0.42) ** 2 / 0.03)
    depth = 0.9 * np.sqrt(np.maximum(bowl, 0.02)) + nose
    face = EYES * np.stack([xy[:, 0], -xy[:, 1], depth], axis=1)
    # The file's face leans back a little and lies off its origin, as Basel's does.
    lean = Rotation.from_euler("x", -6, degrees=True).as_matrix()
    return face @ lean.T + [0.02, 0.3, -0.4], Delaunay(xy).simplices


def smooth_basis(rng: np.random.Generator, vertices: np.ndarray, count: int, size: float) -> np.ndarray:
    """Random waves over the face in dm per standard deviation, (3V, count), the later ones smaller and finer."""
    basis = np.zeros((len(vertices), 3, count))
    for k in range(count):
        waves = np.cos(vertices @ rng.normal(0, 1 + 0.05 * k, (3, 3)) + rng.uniform(0, 6.3, 3))
        basis[..., k] = size / (1 + 0.1 * k) * waves
    return basis.reshape(-1, count)


def contents(seed: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    vertices, triangles = made_up_face()
    order = rng.permutation(len(vertices))  # the keypoints are not the first vertices
    place = np.argsort(order)
    return {
        "meanshape": vertices[order].reshape(1, -1),
        "idBase": smooth_basis(rng, vertices[order], 80, 0.02),
        "exBase": smooth_basis(rng, vertices[order], 64, 0.02),
        "tri": place[triangles] + 1,
        "keypoints": place[None, :68] + 1,
        "meantex": np.zeros((1, 3 * len(vertices))),
    }


@pytest.fixture(scope="module")
def raw() -> dict[str, Any]:
    return contents()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, raw: dict[str, Any]) -> Path:
    target = tmp_path_factory.mktemp("basel") / "BFM_model_front.mat"
    savemat(target, raw)
    return target


@pytest.fixture(scope="module")
def model(path: Path) -> MorphableModel:
    return load_basel_face_model(path)


@pytest.fixture(scope="module")
def frame(path: Path) -> basel.BaselFrame:
    return load_basel_frame(path)


@pytest.fixture(scope="module")
def net() -> ReconNet:
    torch.manual_seed(0)
    return ReconNet().eval()


def original_shape(raw: dict[str, Any], alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Vertices as Deep3DFaceRecon defines them, (V, 3) in dm."""
    mean = raw["meanshape"].reshape(-1, 3)
    moved = (raw["idBase"] @ alpha + raw["exBase"] @ beta).reshape(-1, 3)
    return mean - mean.mean(axis=0) + moved


def original_camera(points: np.ndarray, angles: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Deep3DFaceRecon's projection, written out: (N, 3) in dm to crop pixels, x and y with y up."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    seen = points @ (about_z @ about_y @ about_x).T + translation
    return 1015 * seen[:, :2] / (10 - seen[:, 2:]) + 112


def random_coefficients(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(0, 0.6, 257)
    vector[224:227] = rng.uniform(-0.4, 0.4, 3)
    vector[254:] = rng.uniform(-0.15, 0.15, 3)
    return vector.astype(np.float32)


class TestLoading:
    def test_shapes(self, model: MorphableModel, raw: dict[str, Any]) -> None:
        vertices = raw["meanshape"].size // 3
        assert 300 < vertices < 600
        assert model.mean.shape == (vertices, 3)
        assert model.identity.shape == (vertices, 3, 80)
        assert model.expression.shape == (vertices, 3, 64)
        assert model.triangles.shape == raw["tri"].shape
        assert model.triangles.min() == 0 and model.triangles.max() == vertices - 1
        assert len(model.keypoints) == len(model.landmarks) == 62
        assert len(set(model.landmarks.tolist())) == 62 and model.landmarks.max() < 468
        assert len(model.jaw) == 17
        assert model.lower.shape == (vertices,)
        for value in vars(model).values():
            assert value.dtype == (np.int64 if value.dtype.kind == "i" else np.float32)

    def test_axes_and_unit(self, model: MorphableModel, raw: dict[str, Any]) -> None:
        points = raw["keypoints"].reshape(-1) - 1
        left, right = model.mean[points[36]], model.mean[points[45]]
        assert np.allclose(left, [-0.5, 0, 0], atol=1e-5) and np.allclose(right, [0.5, 0, 0], atol=1e-5)
        highest = raw["meanshape"].reshape(-1, 3)[:, 1].argmax()
        assert model.mean[highest, 1] < -0.3
        assert model.mean[points[8], 1] > 1
        assert model.mean[points[30], 2] < left[2] - 0.2  # the nose is nearer than the eyes
        assert model.mean[points[0], 2] > left[2] + 0.2  # the ears are farther
        assert abs(model.mean[points[[48, 54]], 2].mean()) < 1e-5  # upright: the mouth's corners as deep as the eyes

    def test_same_faces_as_in_the_file(
        self, model: MorphableModel, frame: basel.BaselFrame, raw: dict[str, Any]
    ) -> None:
        rng = np.random.default_rng(1)
        alpha, beta = rng.normal(size=80).astype(np.float32), rng.normal(size=64).astype(np.float32)
        face, original = model.vertices(alpha, beta), original_shape(raw, alpha, beta)
        assert np.abs(frame.to_basel(face) - original).max() < 1e-5
        assert np.abs(frame.to_model(original) - face).max() < 1e-5

    def test_parts(self, model: MorphableModel, raw: dict[str, Any]) -> None:
        points = raw["keypoints"].reshape(-1) - 1
        assert set(points[48:68]) <= set(model.lips.tolist())
        mouth = model.mean[model.lips]
        assert mouth[:, 1].min() > 0.7 and mouth[:, 1].max() < 1.0 and np.abs(mouth[:, 0]).max() < 0.3
        assert 20 < len(model.lips) < 60
        assert tuple(model.inner_lips[0]) == (points[62], points[66])
        assert model.mouth_opening(model.mean) == pytest.approx(0.02, abs=0.005)
        assert tuple(model.mouth_corners) == (points[48], points[54])
        assert (np.diff(model.mean[model.jaw, 0]) > 0).all()
        assert set(model.keypoints[model.rigid]) == set(points[list(basel.RIGID_KEYPOINTS)])
        assert (model.lower[model.lips] == 1).all() and (model.lower[model.mean[:, 1] < 0.4] == 0).all()
        assert ((model.lower > 0) & (model.lower < 1)).any()

    def test_counterparts_are_mirrored(self) -> None:
        own = MorphableModel.load().mean
        for i, j in MIRROR.items():
            a, b = basel.COUNTERPARTS[i], basel.COUNTERPARTS[j]
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert np.abs(own[a] * [-1, 1, 1] - own[b]).max() < 0.01

    def test_survives_the_package_s_own_file(self, model: MorphableModel, tmp_path: Path) -> None:
        model.save(tmp_path / "basel.safetensors")
        again = MorphableModel.load(tmp_path / "basel.safetensors")
        assert np.abs(again.mean - model.mean).max() < 1e-3
        assert (again.keypoints == model.keypoints).all()

    @pytest.mark.slow
    def test_drawing(self, model: MorphableModel) -> None:
        pose = np.array([0.1, 0.4, 0.05, np.log(26), 32, 22], np.float32)
        points = project(model.mean, pose)
        fast = render(points, model.triangles, model.colours(), 64)
        assert np.abs(fast - render_reference(points, model.triangles, model.colours(), 64)).max() < 1e-5
        assert (fast.sum(axis=-1) > 0).mean() > 0.2

    @pytest.mark.slow
    def test_stage1_of_another_mesh_is_refused(self, model: MorphableModel) -> None:
        backbone = {"kind": "whisper", "width": 16, "heads": 2, "layers": 1}
        with pytest.raises(WeightsError, match="train stage 1 on it"):
            GeometryGenerator(468, 24, backbone, dim=16, heads=2, layers=1).check_fits(model)


class TestFitting:
    def test_keypoints_are_found_again(self, model: MorphableModel) -> None:
        """Within 0.5 % of the eye distance (root mean square), and 2 % at the worst."""
        rng = np.random.default_rng(3)
        count = 8
        alpha = rng.normal(0, 0.7, 80).astype(np.float32)
        ends = rng.normal(0, 0.7, (2, 64))
        beta = np.linspace(ends[0], ends[1], count).astype(np.float32)
        pose = np.tile(np.array([0.1, -0.3, 0.05, np.log(120), 300, 200], np.float32), (count, 1))
        pose[:, 1] += np.linspace(0, 0.3, count)
        true = project(model.vertices(alpha, beta), pose)[:, model.keypoints]
        landmarks = np.zeros((count, 478, 3), np.float32)
        landmarks[:, model.landmarks] = true

        initialise = Initialiser(model)
        tables, alpha_mean = tabulate(model, [initialise(frame) for frame in landmarks])
        alpha_found = fit_shape(model, tables, alpha_mean)
        shot = fit_shot(model, tables, alpha_found)

        found = project(model.vertices(alpha_found, shot.beta), shot.pose)[:, model.keypoints]
        distance = np.linalg.norm((found - true)[..., :2], axis=-1) / 120
        assert np.sqrt((distance**2).mean()) < 0.005
        assert distance.max() < 0.02


class TestRefusals:
    def write(self, tmp_path: Path, **changes: Any) -> Path:
        target = tmp_path / "face.mat"
        savemat(target, {**contents(), **changes})
        return target

    def test_missing(self, tmp_path: Path) -> None:
        for load in (load_basel_face_model, load_basel_frame):
            with pytest.raises(WeightsError, match="no such file"):
                load(tmp_path / "nothing.mat")

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 300, b"\x93NUMPY" * 50, bytes(range(256)) * 4])
    def test_not_a_mat_file(self, tmp_path: Path, content: bytes) -> None:
        target = tmp_path / "face.mat"
        target.write_bytes(content)
        with pytest.raises(WeightsError, match=r"face\.mat") as error:
            load_basel_face_model(target)
        assert "\n" not in str(error.value)

    def test_cut_short(self, path: Path, tmp_path: Path) -> None:
        data = path.read_bytes()
        for share in (0.1, 0.5, 0.9):
            target = tmp_path / "cut.mat"
            target.write_bytes(data[: int(share * len(data))])
            with pytest.raises(WeightsError):
                load_basel_face_model(target)

    def test_version_7_3(self, tmp_path: Path) -> None:
        target = tmp_path / "face.mat"
        target.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
        with pytest.raises(WeightsError, match=r"MATLAB 7\.3"):
            load_basel_face_model(target)

    def test_missing_keys(self, tmp_path: Path, raw: dict[str, Any]) -> None:
        target = tmp_path / "face.mat"
        savemat(target, {k: v for k, v in raw.items() if k not in ("exBase", "tri")})
        with pytest.raises(WeightsError, match="no exBase, tri in it"):
            load_basel_face_model(target)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("meanshape", np.zeros((1, 100)), "meanshape has 100 numbers"),
            ("meanshape", "text", "meanshape holds no finite numbers"),
            ("meanshape", np.full((1, 900), np.nan), "meanshape holds no finite numbers"),
            ("idBase", np.zeros((30, 80)), r"idBase is of shape \(30, 80\)"),
            ("exBase", np.zeros((2, 3, 4)), r"exBase is of shape \(2, 3, 4\)"),
            ("tri", np.ones((10, 4)), r"tri is of shape \(10, 4\)"),
            ("tri", np.zeros((10, 3)), "tri must be vertex numbers from 1"),
            ("tri", np.full((10, 3), 1.5), "tri must be vertex numbers from 1"),
            ("keypoints", np.ones((1, 5)), "5 keypoints, but 68"),
            ("keypoints", np.full((1, 68), 10**6), "keypoints must be vertex numbers"),
            ("keypoints", np.ones((1, 68)), "do not form an upright face"),
        ],
    )
    def test_wrong_contents(self, tmp_path: Path, key: str, value: Any, message: str) -> None:
        with pytest.raises(WeightsError, match=message):
            load_basel_face_model(self.write(tmp_path, **{key: value}))

    def test_upside_down(self, tmp_path: Path, raw: dict[str, Any]) -> None:
        turned = (raw["meanshape"].reshape(-1, 3) * [1, -1, -1]).reshape(1, -1)
        with pytest.raises(WeightsError, match="upright"):
            load_basel_face_model(self.write(tmp_path, meanshape=turned))


class TestCamera:
    def test_split(self) -> None:
        parts = Deep3DCoefficients.split(np.arange(257, dtype=np.float32))
        firsts = {name: value[0] for name, value in vars(parts).items()}
        assert firsts == {
            **{"identity": 0, "expression": 80, "texture": 144},
            **{"angles": 224, "lighting": 227, "translation": 254},
        }
        assert [len(value) for value in vars(parts).values()] == [80, 64, 80, 3, 27, 3]
        with pytest.raises(ValueError, match="257"):
            Deep3DCoefficients.split(np.zeros(256, np.float32))

    def test_perspective_is_the_original(self, raw: dict[str, Any]) -> None:
        rng = np.random.default_rng(2)
        parts = Deep3DCoefficients.split(random_coefficients(rng))
        points = original_shape(raw, parts.identity, parts.expression)
        original = original_camera(points, parts.angles, parts.translation)
        seen = deep3d.perspective(points, parts.angles, parts.translation)
        assert np.abs(seen[:, 0] - original[:, 0]).max() < 1e-3
        assert np.abs(seen[:, 1] - (223 - original[:, 1])).max() < 1e-3  # rows count from the top

    def test_pose_sees_what_the_camera_sees(
        self, model: MorphableModel, frame: basel.BaselFrame, raw: dict[str, Any]
    ) -> None:
        """Weak perspective against the original camera: 1 % of the eye distance in the mean, 4 % at the worst."""
        rng = np.random.default_rng(4)
        transform = np.array([[0.7, 0, -90], [0, 0.7, -40]], np.float32)
        for _ in range(20):
            parts = Deep3DCoefficients.split(random_coefficients(rng))
            face = model.vertices(parts.identity, parts.expression)[model.keypoints]
            pose = deep3d.weak_perspective_pose(face, frame, parts, transform)
            original = original_camera(
                original_shape(raw, parts.identity, parts.expression)[model.keypoints],
                parts.angles,
                parts.translation,
            )
            crop = np.stack([original[:, 0], 223 - original[:, 1]], axis=1).astype(np.float32)
            target = apply_transform(invert_transform(transform), crop)
            distance = np.linalg.norm(project(face, pose)[:, :2] - target, axis=1) / np.exp(pose[3])
            assert distance.mean() < 0.01 and distance.max() < 0.04

    def test_a_far_camera_is_met_exactly(self, model: MorphableModel, frame: basel.BaselFrame) -> None:
        """Far behind, the face is flat to the camera, and turn and place must come out to the last digit."""
        parts = Deep3DCoefficients.split(np.zeros(257, np.float32))
        parts.angles[:], parts.translation[:] = [0.2, -0.3, 0.1], [3, -2, -1e5]
        face = model.mean[model.keypoints]
        identity = np.eye(2, 3, dtype=np.float32)
        pose = deep3d.weak_perspective_pose(face, frame, parts, identity)
        seen = deep3d.perspective(frame.to_basel(face), parts.angles, parts.translation)
        assert np.abs(project(face, pose)[:, :2] - seen[:, :2]).max() < 1e-3
        turn = Rotation.from_euler("xyz", parts.angles).as_matrix()
        flip = np.diag([1, -1, -1])
        expected = flip @ turn @ frame.axes  # model axes in Basel space, turned, then seen with y down and z away
        assert np.abs(Rotation.from_rotvec(pose[:3]).as_matrix() - expected).max() < 1e-3

    def test_crop(self) -> None:
        scale, place = 160.0, np.array([400.0, 300.0])
        five = deep3d.STANDARD_POINTS[:, :2] * [scale, -scale] + place
        landmarks = np.zeros((478, 3), np.float32)
        for group, point in zip(deep3d.STANDARD_LANDMARKS, five, strict=True):
            landmarks[list(group), :2] = point
        transform = deep3d.crop_for_network(landmarks)
        assert np.allclose(transform[:, :2], 102 / scale * np.eye(2), atol=1e-5)
        assert np.allclose(apply_transform(transform, place[None].astype(np.float32)), [[112, 111]], atol=1e-3)


class TestNetwork:
    def test_names(self) -> None:
        state = ReconNet().state_dict()
        # 53 convolutions, each with the 5 tensors of its normalisation, and 7 last layers of weight and bias.
        assert len(state) == 53 * 6 + 14
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        assert shapes["backbone.conv1.weight"] == (64, 3, 7, 7)
        assert shapes["backbone.layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
        assert shapes["backbone.layer2.0.conv2.weight"] == (128, 128, 3, 3)
        assert shapes["backbone.layer3.5.bn3.running_var"] == (1024,)
        assert shapes["backbone.layer4.0.downsample.1.num_batches_tracked"] == ()
        assert "backbone.layer4.2.conv3.weight" in shapes and "backbone.layer4.3.conv1.weight" not in shapes
        assert [shapes[f"final_layers.{k}.weight"][0] for k in range(7)] == [80, 64, 80, 3, 27, 2, 1]
        assert shapes["final_layers.6.weight"] == (1, 2048, 1, 1)

    def test_strides(self, net: ReconNet) -> None:
        with torch.inference_mode():
            features = net.backbone.layer4(net.backbone.layer3(torch.rand(1, 512, 28, 28)))
        assert features.shape == (1, 2048, 7, 7)
        assert net.backbone.layer2[0].conv1.stride == (1, 1) and net.backbone.layer2[0].conv2.stride == (2, 2)

    @pytest.mark.slow
    def test_saved_and_reloaded(self, net: ReconNet, tmp_path: Path) -> None:
        target = tmp_path / "epoch_20.pth"
        torch.save({"net_recon": net.state_dict(), "opt_00": {"state": {}}, "sched_00": {"gamma": 0.2}}, target)
        again = ReconNet.load(target)
        assert not again.training
        crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
        vector = again.coefficients(crop)
        assert vector.shape == (257,) and np.isfinite(vector).all() and vector.std() > 0
        assert np.array_equal(vector, net.coefficients(crop))

    def test_wrong_files(self, tmp_path: Path) -> None:
        target = tmp_path / "net.pth"
        with pytest.raises(WeightsError, match="no such file"):
            ReconNet.load(target)
        target.write_bytes(b"not a checkpoint")
        with pytest.raises(WeightsError, match=r"net\.pth"):
            ReconNet.load(target)
        for content in ({"other": {}}, [1, 2], {"net_recon": 3}, {"net_recon": {"a": 1}}):
            torch.save(content, target)
            with pytest.raises(WeightsError, match="no network named net_recon"):
                ReconNet.load(target)

    @pytest.mark.slow
    def test_strict(self, net: ReconNet, tmp_path: Path) -> None:
        target = tmp_path / "net.pth"
        state = net.state_dict()
        few = {k: v for k, v in state.items() if k != "final_layers.6.bias"}
        other = {**state, "final_layers.6.bias": torch.zeros(2)}
        for wrong in (few, {**state, "backbone.fc.weight": torch.zeros(3)}, other):
            torch.save({"net_recon": wrong}, target)
            with pytest.raises(WeightsError, match="not Deep3DFaceRecon's ResNet-50"):
                ReconNet.load(target)

    def test_code_in_the_file_is_not_run(self, tmp_path: Path) -> None:
        mark, target = tmp_path / "mark", tmp_path / "net.pth"

        class Code:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (mark,)

        torch.save({"net_recon": Code()}, target)
        with pytest.raises(WeightsError, match="tensors alone"):
            ReconNet.load(target)
        assert not mark.exists()


class TestInitialiser:
    def test_estimate(
        self,
        model: MorphableModel,
        frame: basel.BaselFrame,
        raw: dict[str, Any],
        net: ReconNet,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        vector = random_coefficients(np.random.default_rng(8))
        crops = []

        def coefficients(self: ReconNet, crop: np.ndarray) -> np.ndarray:
            crops.append(crop)
            return vector

        monkeypatch.setattr(ReconNet, "coefficients", coefficients)
        landmarks = np.zeros((478, 3), np.float32)
        pose = np.array([0, 0.1, 0, np.log(150), 320, 200], np.float32)
        landmarks[model.landmarks] = project(model.mean, pose)[model.keypoints]
        estimate = Deep3DInitialiser(model, net, frame)(np.full((480, 640, 3), 90, np.uint8), landmarks)

        assert crops[0].shape == (224, 224, 3) and crops[0].dtype == np.uint8
        parts = Deep3DCoefficients.split(vector)
        assert np.array_equal(estimate.alpha, parts.identity) and np.array_equal(estimate.beta, parts.expression)
        assert np.array_equal(estimate.keypoints, landmarks[model.landmarks, :2])
        points = original_shape(raw, parts.identity, parts.expression)[model.keypoints]
        original = original_camera(points, parts.angles, parts.translation)
        crop = np.stack([original[:, 0], 223 - original[:, 1]], axis=1).astype(np.float32)
        target = apply_transform(invert_transform(deep3d.crop_for_network(landmarks)), crop)
        face = model.vertices(estimate.alpha, estimate.beta)[model.keypoints]
        distance = np.linalg.norm(project(face, estimate.pose)[:, :2] - target, axis=1)
        assert distance.max() < 0.04 * np.exp(estimate.pose[3])
        # Estimates go on into the fit like those of the closed form.
        tables, alpha = tabulate(model, [estimate] * 3)
        assert np.isfinite(fit_shot(model, tables, alpha).pose).all()

    def test_from_files(self, path: Path, net: ReconNet, tmp_path: Path) -> None:
        target = tmp_path / "epoch_20.pth"
        torch.save({"net_recon": net.state_dict()}, target)
        initialise = Deep3DInitialiser.load(path, target)
        landmarks = np.zeros((478, 3), np.float32)
        pose = np.array([0, 0, 0, np.log(80), 100, 60], np.float32)
        landmarks[initialise.model.landmarks] = project(initialise.model.mean, pose)[initialise.model.keypoints]
        estimate = initialise(np.zeros((200, 200, 3), np.uint8), landmarks)
        assert estimate.alpha.shape == (80,) and estimate.beta.shape == (64,) and estimate.pose.shape == (6,)

    def test_wrong_models(self, model: MorphableModel, frame: basel.BaselFrame, net: ReconNet, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="80 shape and 64 expression"):
            Deep3DInitialiser(MorphableModel.load(), net, frame)
        moved = basel.BaselFrame(frame.origin + np.float32(0.1), frame.axes, frame.unit)
        with pytest.raises(WeightsError, match="different files"):
            Deep3DInitialiser(model, net, moved)
