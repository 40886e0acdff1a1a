"""Still images of every kind become videos of one frame, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from personatalk.errors import MediaError
from personatalk.media.reader import VideoReader
from personatalk.media.still import FPS, LONGEST_SIDE, still_as_video
from personatalk.sample import sample_files

WIDTH, HEIGHT = 64, 48


def gradient() -> Image.Image:
    """Left to right darker to lighter, red above and blue below."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[..., 1] = np.linspace(30, 220, WIDTH)
    rgb[: HEIGHT // 2, :, 0], rgb[HEIGHT // 2 :, :, 2] = 200, 200
    return Image.fromarray(rgb)


def shown(path: Path) -> tuple[np.ndarray, list[str]]:
    """The only frame of the video that is made of an image, and the notes about it."""
    with still_as_video(path) as still:
        assert still is not None
        with VideoReader(still.path) as reader:
            assert reader.info.average_fps == FPS and reader.info.pix_fmt == "yuv420p"
            (frame,) = reader.frames()
            assert frame.time == 0 and frame.duration * reader.info.time_base == pytest.approx(1 / FPS)
            return frame.rgb().astype(float), still.warnings


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif", "jp2", "tga", "ppm", "ico", "avif", "pcx"]
)
def test_every_format_of_the_library_is_read(tmp_path: Path, suffix: str) -> None:
    options = {"sizes": [(WIDTH, HEIGHT)]} if suffix == "ico" else {}
    found, notes = shown(saved(tmp_path / f"a.{suffix}", gradient(), **options))
    assert found.shape == (HEIGHT, WIDTH, 3) and notes == []
    inner = np.s_[4:20, 4:60], np.s_[28:44, 4:60]
    for part in inner:
        assert np.abs(found - np.asarray(gradient()))[part].mean() < 12


def test_an_orientation_turns_the_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned 90 degrees clockwise to be seen
    found, _ = shown(saved(tmp_path / "a.jpg", gradient(), exif=exif, quality=95))
    upright = np.rot90(np.asarray(gradient()), -1)
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 12


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LAB", "I;16", "I"])
def test_every_kind_of_pixels_is_read(tmp_path: Path, mode: str) -> None:
    grey = gradient().convert("L")
    if mode.startswith("I"):
        deep = np.asarray(grey).astype(np.uint16 if mode == "I;16" else np.int32) * 257
        image = Image.fromarray(deep)
    elif mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(gradient(), lab)  # type: ignore[assignment]
    else:
        image = gradient().convert(mode)
    found, notes = shown(saved(tmp_path / "a.tiff", image))
    assert notes == []
    wanted = np.asarray(grey if mode in ("L", "1", "I;16", "I") else gradient()).astype(float)
    wanted = wanted if wanted.ndim == 3 else np.repeat(wanted[..., None], 3, axis=2)
    for part in (np.s_[4:20, 4:60], np.s_[28:44, 4:60]):
        assert abs(found[part].mean() - wanted[part].mean()) < 12
        rising = found[part].mean(axis=(0, 2))
        assert rising[-8:].mean() > rising[:8].mean() + 15


def test_transparent_parts_become_white_with_a_note(tmp_path: Path) -> None:
    clear = gradient().convert("RGBA")
    opaque, notes = shown(saved(tmp_path / "opaque.png", clear))
    assert notes == [] and np.abs(opaque - np.asarray(gradient())).mean() < 8
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    clear.putalpha(Image.fromarray(alpha))
    found, notes = shown(saved(tmp_path / "clear.png", clear))
    assert found[:, WIDTH // 2 + 4 :].min() > 240 > found[:, : WIDTH // 2 - 4].max(axis=(0, 1)).min()
    assert notes == ["the image's transparent parts became white"]


def test_a_large_image_is_scaled_down_and_odd_sides_lose_a_pixel(tmp_path: Path) -> None:
    found, notes = shown(saved(tmp_path / "a.png", gradient().resize((2401, 1801))))
    assert found.shape == (1438, LONGEST_SIDE, 3) or found.shape == (1440, LONGEST_SIDE, 3)
    assert notes == ["the image of 2401 x 1801 was scaled down to 1920 pixels"]
    assert shown(saved(tmp_path / "b.png", gradient().crop((0, 0, 63, 47))))[0].shape == (46, 62, 3)


def test_what_moves_or_is_no_image_stays_what_it_is(tmp_path: Path) -> None:
    frames = [gradient(), gradient().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    (tmp_path / "a.txt").write_text("no image")
    moving = [
        saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:]) for name in ("a.gif", "a.webp")
    ]
    for path in (*moving, tmp_path / "a.txt", tmp_path / "none.png", *sample_files()):
        with still_as_video(path) as still:
            assert still is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: saved(p, gradient(), save_all=True, append_images=[gradient()]), "holds several images"),
        (lambda p: saved(p, Image.fromarray(np.ones((20, 20), np.float32))), "floating-point"),
        (lambda p: saved(p, gradient().resize((8, 8))), "8 x 8 pixels small"),
        (lambda p: p.write_bytes(saved(p, gradient()).read_bytes()[:3000]), "is a damaged image"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(tmp_path: Path, make: object, said: str) -> None:
    make(path := tmp_path / "a.tiff")  # type: ignore[operator]
    with pytest.raises(MediaError, match=rf"a\.tiff .*{said}"), still_as_video(path):
        pass


def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(MediaError, match=r"a\.png is an image of too many pixels"):
        shown(saved(tmp_path / "a.png", gradient()))


def test_errors_of_the_block_name_the_image(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", gradient())
    with pytest.raises(MediaError, match=r"^\S*/a\.png: bad$"), still_as_video(path) as still:
        assert still is not None
        raise MediaError(f"{still.path}: bad")
