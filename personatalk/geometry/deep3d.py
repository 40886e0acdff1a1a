"""Deep3DFaceRecon's network (Deng et al. 2019b) as the learned initialisation of the fit (paper, section 3.1).

The network sees the face in a crop of 224 x 224 pixels and gives 257 coefficients of the Basel Face Model under a
perspective camera, which are brought here to a weak-perspective pose in the image's own pixels. The crop, the
camera, the order of the coefficients and the names in the checkpoint are those of
https://github.com/sicxu/Deep3DFaceRecon_pytorch (util/preprocess.py, models/bfm.py, models/networks.py).
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from ..errors import WeightsError
from ..utils.arrays import Array
from ..utils.resnet import ResNet50
from .basel import BaselFrame, load_basel_face_model, load_basel_frame
from .camera import apply_transform, invert_transform, warp
from .fitting import Estimate, rigid_pose
from .morphable_model import MorphableModel

# Side of the network's crop in pixels.
CROP_SIDE = 224
# Focal length of its camera in crop pixels.
FOCAL = 1015.0
# Principal point of its camera in crop pixels, from the left and from the bottom.
PRINCIPAL_POINT = 112.0
# Distance of the camera from the origin of Basel space in decimetres.
CAMERA_DISTANCE = 10.0
# Crop pixels per decimetre of the standard face; nearly FOCAL / CAMERA_DISTANCE.
PIXELS_PER_DECIMETRE = 102.0

# Eyes, nose tip and mouth corners (image's left first) of the standard face, in Basel space (dm).
STANDARD_POINTS = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032535, -0.04617932, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)
# MediaPipe landmarks whose means are those five points; an eye is the mean of its corners.
STANDARD_LANDMARKS = ((33, 133), (362, 263), (4,), (61,), (291,))

# Identity, expression, texture, angles, lighting, translation: 257 in all.
GROUP_SIZES = (80, 64, 80, 3, 27, 3)


@dataclass(frozen=True)
class Deep3DCoefficients:
    """Coefficients that the network gives for one face.

    Attributes:
        identity: Shape in standard deviations, (80,).
        expression: In standard deviations, (64,).
        texture: Colour in standard deviations, (80,).
        angles: Turn about Basel's x, then y, then z axis, in radians, (3,).
        lighting: Spherical harmonics, 9 of each colour channel, (27,).
        translation: In dm of Basel space, after the turn, (3,).
    """

    identity: Array
    expression: Array
    texture: Array
    angles: Array
    lighting: Array
    translation: Array

    @classmethod
    def split(cls, vector: Array) -> Deep3DCoefficients:
        """Split the network's vector into its groups.

        Raises:
            ValueError: It is not of shape (257,).
        """
        if vector.shape != (sum(GROUP_SIZES),):
            raise ValueError(f"coefficients are of shape {vector.shape}, but ({sum(GROUP_SIZES)},) was wanted")
        return cls(*np.split(vector, np.cumsum(GROUP_SIZES)[:-1]))


def crop_for_network(landmarks: Array) -> Array:
    """Return the transform from image pixels to the network's crop, (2, 3), from MediaPipe landmarks (N, 2 or 3).

    An affine camera is put through the five points; its scale and the place of the standard face's origin decide the
    crop. As in Deep3DFaceRecon a head's roll is left as it is. That project also rounds the crop to whole pixels,
    which is not done here.
    """
    five = np.array([landmarks[list(group), :2].mean(axis=0) for group in STANDARD_LANDMARKS], np.float64)
    camera = np.linalg.lstsq(np.c_[STANDARD_POINTS, np.ones(5)], five, rcond=None)[0]
    zoom = PIXELS_PER_DECIMETRE / np.linalg.norm(camera[:3], axis=0).mean()
    # The origin comes to lie at CENTRE; the crop's rows count from the top, from 0 to CROP_SIDE - 1.
    middle = np.array([PRINCIPAL_POINT, CROP_SIDE - 1 - PRINCIPAL_POINT])
    transform: Array = np.c_[zoom * np.eye(2), middle - zoom * camera[3]].astype(np.float32)
    return transform


def perspective(points: Array, angles: Array, translation: Array) -> Array:
    """Project a face through the network's camera.

    Args:
        points: Basel space in dm, (N, 3).
        angles: (3,), see `Deep3DCoefficients`.
        translation: (3,), likewise.

    Returns:
        (N, 3): column and row in the crop, and depth in the pixels that a length at the points' mean depth takes up.
    """
    x, y, z = (points @ Rotation.from_euler("xyz", angles).as_matrix().T + translation).T
    depth = CAMERA_DISTANCE - z
    column, row = FOCAL * x / depth + PRINCIPAL_POINT, CROP_SIDE - 1 - (FOCAL * y / depth + PRINCIPAL_POINT)
    seen: Array = np.stack([column, row, depth * FOCAL / depth.mean()], axis=1).astype(np.float32)
    return seen


def weak_perspective_pose(face: Array, frame: BaselFrame, coefficients: Deep3DCoefficients, transform: Array) -> Array:
    """Return the pose in image pixels, (6,), that comes nearest to the network's camera.

    It is the least-squares fit to what that camera sees, so that the camera's place in front of the crop's middle is
    accounted for. What remains is the perspective itself: about 1 % of the distance between the eyes' outer corners
    in the mean over the keypoints, 4 % at the worst.

    Args:
        face: Points of the face with its own shape and expression, model space, (N, 3).
        frame: Where model space lies in Basel space.
        coefficients: Angles and translation are used.
        transform: From image pixels to the network's crop, (2, 3).
    """
    seen = perspective(frame.to_basel(face), coefficients.angles, coefficients.translation)
    return rigid_pose(face, apply_transform(invert_transform(transform), seen))[0]


class Deep3DInitialiser:
    """Gives the initial coefficients of a frame by Deep3DFaceRecon's network.

    Args:
        model: The Basel Face Model.
        net: The network.
        frame: Where the model's space lies in Basel space, from the same file as the model.

    Raises:
        WeightsError: The model is not the one that the network speaks of, or the frame is of another file.
    """

    def __init__(self, model: MorphableModel, net: ReconNet, frame: BaselFrame) -> None:
        if (model.num_identity, model.num_expression) != GROUP_SIZES[:2]:
            raise WeightsError(
                f"Deep3DFaceRecon's network needs a model with {GROUP_SIZES[0]} shape and {GROUP_SIZES[1]} expression"
                f" components, but this one has {model.num_identity} and {model.num_expression};"
                " use BFM_model_front.mat"
            )
        # Basel space has its origin at the mean of the vertices.
        if np.abs(frame.to_basel(model.mean.mean(axis=0))).max() > 0.01:
            raise WeightsError("the morphable model and its frame come from different files; read both from one")
        self.model, self.net, self.frame = model, net, frame

    @classmethod
    def load(cls, basel: Path | str, checkpoint: Path | str) -> Deep3DInitialiser:
        """Load the initialiser from `BFM_model_front.mat` and `epoch_20.pth`; errors as in the loaders of the two."""
        return cls(load_basel_face_model(basel), ReconNet.load(checkpoint), load_basel_frame(basel))

    def __call__(self, rgb: npt.NDArray[np.uint8], landmarks: Array) -> Estimate:
        """Estimate one frame.

        Args:
            rgb: Upright image, uint8 (H, W, 3).
            landmarks: MediaPipe landmarks in its pixels, (N, 3).
        """
        transform = crop_for_network(landmarks)
        found = Deep3DCoefficients.split(self.net.coefficients(warp(rgb, transform, CROP_SIDE)))
        model, points = self.model, self.model.keypoints
        face = model.mean[points] + model.identity[points] @ found.identity
        face = face + model.expression[points] @ found.expression
        pose = weak_perspective_pose(face, self.frame, found, transform)
        return Estimate(landmarks[model.landmarks, :2].copy(), found.identity, found.expression, pose)


class ReconNet(nn.Module):
    """Deep3DFaceRecon's network: a ResNet-50 and a 1 x 1 convolution for each group of coefficients.

    The translation is in two groups, x and y, then z.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet50()
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, n, 1) for n in (*GROUP_SIZES[:-1], 2, 1))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Map crops (N, 3, 224, 224), RGB in 0..1, to coefficients (N, 257)."""
        features = self.backbone.stages(crops)[-1].mean(dim=(2, 3), keepdim=True)
        return torch.cat([layer(features) for layer in self.final_layers], dim=1).flatten(1)

    def coefficients(self, crop: npt.NDArray[np.uint8]) -> Array:
        """Return the coefficients (257,) of one crop, uint8 (224, 224, 3)."""
        device = next(self.parameters()).device
        image = torch.from_numpy(crop).to(device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            vector: Array = self(image)[0].cpu().numpy()
        return vector

    @classmethod
    def load(cls, path: Path | str) -> ReconNet:
        """Read the network out of a checkpoint of that project, strictly and without running any code in it.

        Args:
            path: `epoch_20.pth`: a table whose "net_recon" is the network's state.

        Raises:
            WeightsError: The file is missing, is no checkpoint, or holds another network.
        """
        state = _load_state(Path(path))
        net = cls()
        try:
            net.load_state_dict(state, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(f"{path}: not Deep3DFaceRecon's ResNet-50: {reason}") from error
        return net.eval()


def _load_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the path of Deep3DFaceRecon's epoch_20.pth (see docs/basel.md)")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: not a checkpoint of tensors alone, so it was not read; get it from Deep3DFaceRecon's own page"
        ) from error
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: not a readable checkpoint ({reason}); get it again") from error
    state = checkpoint.get("net_recon") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path}: no network named net_recon in it; give Deep3DFaceRecon's epoch_20.pth")
    return state
