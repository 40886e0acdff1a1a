"""The face crops of a clip as they are stored: JPEG images, or a video where they have to be small."""

from __future__ import annotations

import functools
import io
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import overload

import av
import cv2
import numpy as np
import numpy.typing as npt

from ...audio.rates import FPS
from ...errors import MediaError

JPEG_QUALITY = 95
# Crops in a video: 42 dB and more in some 2 kB a frame.
VIDEO_OPTIONS = {"crf": "14", "preset": "slow"}


class Crops(Sequence[npt.NDArray[np.uint8]]):
    """Face crops of a clip, uint8 RGB (256, 256, 3) each."""

    @overload
    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[npt.NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> npt.NDArray[np.uint8] | list[npt.NDArray[np.uint8]]:
        """Return one crop, or those of a slice.

        Raises:
            MediaError: It is damaged.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.decode(range(len(self))[index])

    @abstractmethod
    def decode(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the crop of a number from 0."""

    @abstractmethod
    def member(self) -> tuple[str, bytes]:
        """Return suffix and content of the file that holds them in a sample."""


class JpegCrops(Crops):
    """Face crops kept as JPEG and decoded one at a time.

    Args:
        data: All images, one after the other, uint8 (N,).
        ends: Position at which each ends, (T,).
        where: File that they were read from, for messages.
    """

    SUFFIX = "crops.npz"

    def __init__(self, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], where: str = "") -> None:
        if data.ndim != 1 or ends.ndim != 1 or data.dtype != np.uint8 or ends.dtype.kind != "i":
            raise ValueError("its images are of another kind")
        if (np.diff(ends, prepend=0) < 0).any():
            raise ValueError("its images are out of order")
        self.data, self.ends, self.where = data, ends, where

    def __len__(self) -> int:
        return len(self.ends)

    def decode(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the crop of a number from 0.

        Raises:
            MediaError: It is damaged.
        """
        start = int(self.ends[index - 1]) if index else 0
        coded = self.data[start : int(self.ends[index])]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR) if len(coded) else None
        if image is None:
            raise MediaError(f"{self.where}: image {index} is damaged; prepare the data set anew")
        return np.ascontiguousarray(image[..., ::-1])

    def member(self) -> tuple[str, bytes]:
        """Return suffix and content of the file that holds them in a sample."""
        stream = io.BytesIO()
        np.savez(stream, data=self.data, ends=self.ends)
        return self.SUFFIX, stream.getvalue()

    @classmethod
    def encode(cls, images: Iterable[npt.NDArray[np.uint8]]) -> JpegCrops:
        """Encode RGB images, one at a time."""
        coded = [cv2.imencode(".jpg", p[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1] for p in images]
        ends = np.cumsum([len(c) for c in coded], dtype=np.int64)
        return cls(np.concatenate(coded) if coded else np.zeros(0, np.uint8), ends)


class VideoCrops(Crops):
    """Face crops kept as a video, which is decoded whole when the first is asked for.

    Args:
        data: An MP4 file.
        length: Its frames.
        where: File that it was read from, for messages.
    """

    SUFFIX = "crops.mp4"

    def __init__(self, data: bytes, length: int, where: str = "") -> None:
        self.data, self.length, self.where = data, length, where

    def __len__(self) -> int:
        return self.length

    @functools.cached_property
    def _images(self) -> list[npt.NDArray[np.uint8]]:
        try:
            with av.open(io.BytesIO(self.data)) as file:
                images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        except (av.error.FFmpegError, LookupError) as error:
            raise MediaError(f"{self.where}: the crops are damaged ({error}); make the pack anew") from error
        if len(images) != self.length:
            raise MediaError(f"{self.where}: {len(images)} crops instead of {self.length}; make the pack anew")
        return images

    def decode(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the crop of a number from 0.

        Raises:
            MediaError: The video is damaged.
        """
        return self._images[index]

    def member(self) -> tuple[str, bytes]:
        """Return suffix and content of the file that holds them in a sample."""
        return self.SUFFIX, self.data

    @classmethod
    def encode(cls, images: Iterable[npt.NDArray[np.uint8]]) -> VideoCrops:
        """Encode RGB images, one at a time."""
        stream, count = io.BytesIO(), 0
        with av.open(stream, "w", format="mp4") as file:
            video = file.add_stream("libx264", rate=FPS, options=VIDEO_OPTIONS)
            video.pix_fmt = "yuv444p"
            for image in images:
                if not count:
                    video.height, video.width = image.shape[:2]
                file.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
                count += 1
            file.mux(video.encode(None))
        return cls(stream.getvalue(), count)
