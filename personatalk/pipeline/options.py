"""Options of a dub."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import MediaError, OptionError
from ..faces.choice import parse_choice
from ..media.options import EncodeOptions, LengthPolicy
from ..provenance.options import Provenance
from ..stage2.options import Resolution
from ..utils.devices import Device
from ..utils.files import is_file
from ..utils.options import check_options, option

if TYPE_CHECKING:
    from ..faces.selection import FaceSearch
    from .weights import Models

# The head in a clip that is made of a still image.
Still = Literal["fixed", "moving"]

# The mouth in longer silence of the speech.
Silence = Literal["rest", "original"]

# Largest style strength: beyond it mouths leave what faces do.
STRONGEST = 1.5


@dataclass(frozen=True)
class DubOptions:
    """Options of a dub.

    Attributes:
        length: What happens where speech and video differ in length; see `LengthPolicy`.
        encode: Codec and quality.
        face: Who is dubbed where the video shows several people; see `choice.parse_choice`. None follows the largest
            face of each shot.
        identity: ArcFace network in ONNX that tells people apart; None takes their appearance in the video.
        silence: What the mouth does where the speech is silent for longer: "rest" closes it, "original" shows the
            source's.
        provenance: Whether the output says that it was generated, and who signs that.
        persona: A persona of the speaker; a video that it was made from is not analysed again.
        style: A persona or a video whose speaking style is taken instead of the speaker's own.
        resolution: Side of the rendered face crop; see `face_crops.choose_crop_size`.
        style_strength: 0 (nobody's style) .. 1 (the style) .. 1.5 (more than it).
        mood: 0 (none) .. 1 (all) of the source's slow expression goes into the new mouth; see `mood.moods`.
        start: Where a stretch that is dubbed begins, in seconds of the video; the rest of it stays.
        end: Where it ends; None where the speech does.
        still: Whether the head moves where the video is a still image.
        still_seed: Chooses the motion.

    Raises:
        PersonaTalkError: A value is not allowed.
    """

    length: LengthPolicy = option(
        "video",
        "where speech and video differ in length: 'video' keeps all frames and closes the mouth after the speech;"
        " 'video-original' keeps all frames and the original mouth after it; 'shortest' ends with the shorter;"
        " 'pingpong', 'loop' and 'remap' last as long as the speech: 'pingpong' plays the video forward and backward,"
        " 'loop' plays it again and again with a short cross-fade, 'remap' plays it slower or faster (0.8 to 1.25 times"
        " as long)",
        group="what is dubbed",
    )
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    face: str | None = option(
        None,
        "whose face, where the video shows several people: a number from 'personatalk faces' (1+3: two numbers of one"
        " person); left, right, centre or largest; a place x,y as shares of the image or in pixels (0.3,0.5 or"
        " 0.3,0.5@12.5 with a time in seconds); or an image of the person",
        otherwise="the largest face of each shot",
        metavar="WHO",
        group="whose face",
        check_form=parse_choice,
    )
    identity: Path | str | None = option(
        None,
        "ArcFace network that tells people apart",
        otherwise="their appearance in the video",
        metavar="FILE.onnx",
        group="whose face",
    )
    provenance: Provenance = field(default_factory=Provenance)
    silence: Silence = option(
        "rest",
        "the mouth in longer silence of the speech: 'rest' closes it, 'original' shows the source's",
        group="what is dubbed",
    )
    resolution: Resolution = option(
        "auto",
        "pixels of the rendered face: 256; 512, sharper in large faces, for four times the work; or by the face's size",
        group="what is dubbed",
    )
    persona: Path | str | None = option(
        None,
        "persona of the speaker, from 'personatalk persona make'; a video that it was made from is not analysed again",
        metavar="FILE.persona",
        group="persona and style",
    )
    style: Path | str | None = option(
        None,
        "persona or video whose speaking style is taken",
        otherwise="the speaker's own style",
        metavar="FILE",
        group="persona and style",
    )
    style_strength: float = option(
        1.0,
        "0: nobody's style, 1: the style, up to 1.5: more than it",
        metavar="NUMBER",
        group="persona and style",
        least=0,
        most=STRONGEST,
    )
    mood: float = option(
        0.8,
        "how much of what the source's face does slowly, such as a smile, goes into the new mouth: 0 (nothing) to 1",
        metavar="NUMBER",
        group="persona and style",
        least=0,
        most=1,
    )
    start: float | None = option(
        None,
        "seconds of the video at which the speech begins: the video keeps its length, its mouth and its audio outside"
        " the stretch from start to end",
        otherwise="the video's start, if an end is given",
        metavar="SECONDS",
        group="what is dubbed",
        least=0,
    )
    end: float | None = option(
        None,
        "seconds of the video at which that stretch ends",
        otherwise="where the speech ends, if a start is given",
        metavar="SECONDS",
        group="what is dubbed",
        least=0,
    )
    still: Still = option(
        "fixed",
        "where the video is a still image, the head: 'fixed' holds it still, 'moving' lets it turn and sway a little",
        group="what is dubbed",
    )
    still_seed: int = option(
        0, "chooses one of many such motions", metavar="NUMBER", group="what is dubbed", least=0, most=2**31 - 1
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.end is not None and self.end <= (self.start or 0):
            raise OptionError(f"the stretch ends at {self.end:g} s, not after its start at {self.start or 0:g} s")

    def search(self) -> FaceSearch:
        """Return the search for the chosen person."""
        # Imported here, since it loads much, and `--help` must not wait for them.
        from ..faces.selection import FaceSearch

        return FaceSearch(self.face, self.identity)

    def check(self) -> None:
        """Make sure that the files of the options are there.

        Raises:
            PersonaTalkError: One is not.
        """
        self.search().check()
        for path in (self.persona, self.style):
            if path is not None and not is_file(Path(path)):
                raise MediaError(f"{path}: there is no such file")


@dataclass(frozen=True)
class WeightPaths:
    """Files of the trained parts; None where the package's own is taken.

    Attributes:
        morphable: A morphable model of ours, or the Basel Face Model as `BFM_model_front.mat`.
        stage1: Weights of the geometry generator.
        stage2: Weights of the renderer.
        deep3d: Deep3DFaceRecon's checkpoint, which initialises the geometry of the Basel Face Model.
        device: What the networks run on.

    Raises:
        PersonaTalkError: A value is not allowed.
    """

    morphable: Path | str | None = option(
        None,
        "morphable model, or BFM_model_front.mat",
        otherwise="the package's",
        metavar="FILE",
        group="models",
    )
    stage1: Path | str | None = option(
        None, "weights of the geometry generator", otherwise="the package's", metavar="FILE", group="models"
    )
    stage2: Path | str | None = option(
        None, "weights of the renderer", otherwise="the package's", metavar="FILE", group="models"
    )
    deep3d: Path | str | None = option(
        None, "Deep3DFaceRecon's checkpoint, for BFM_model_front.mat", metavar="FILE.pth", group="models"
    )

    device: Device = option(
        "auto",
        "what the networks run on; 'personatalk devices' lists what is there",
        group="models",
    )

    def __post_init__(self) -> None:
        check_options(self)

    def load(self) -> Models:
        """Read the weights; see `Models.load`."""
        from .weights import Models

        return Models.load(self.morphable, self.stage1, self.stage2, self.deep3d, self.device)

    def check(self, on_cluster: bool = False) -> None:
        """Make sure that other processes will be able to load them; the package's own are not tried.

        Args:
            on_cluster: Whether those processes run on other machines, whose devices are not known here.

        Raises:
            PersonaTalkError: They will not.
        """
        tried = replace(self, device="auto") if on_cluster else self
        if tried != WeightPaths():
            tried.load()
