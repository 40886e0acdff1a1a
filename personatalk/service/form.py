"""The form of a new job: its fields, those of `DubOptions` among them, for the API and for the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from ..errors import PersonaTalkError
from ..faces.choice import FaceImage, parse_choice
from ..pipeline.options import DubOptions
from ..pipeline.persona import SUFFIX
from ..utils.options import Option, options_of, with_options

# Options that are the operator's: whether results are marked, and which of the machine's encoders run.
OPERATORS = {"provenance", "codec", "audio_codec"}

# Options that name a persona of the service's folder instead of a file.
PERSONAS = ("persona", "style")

# Containers of a result, the first of which is the default.
Container = Literal["mp4", "mov", "mkv", "webm"]


def client_options() -> tuple[Option, ...]:
    """Return the options of a dub that clients may choose."""
    return tuple(
        option
        for option in options_of(DubOptions)
        if option.name in PERSONAS or (option.kind is not Path and option.name not in OPERATORS)
    )


def _none_if_empty(value: object) -> object:
    """Take an empty field of a form for one that is not given."""
    return None if value == "" else value


Optional_ = BeforeValidator(_none_if_empty)


class JobFields(BaseModel):
    """Fields of a new job that are no options of a dub."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["dub", "faces", "verify"] = Field(
        "dub", description="dub; faces: list the people of a video; verify: tell whether a video was dubbed"
    )
    video: Annotated[UploadFile | None, Optional_] = Field(
        None, description="the video, or a still image of a person, uploaded"
    )
    video_path: Annotated[str | None, Optional_] = Field(
        None, description="or its path below the folder that the service allows", max_length=4096
    )
    video_of: Annotated[str | None, Optional_] = Field(
        None, description="or the id of a job of yours that has it", pattern="^[0-9a-f]{32}$"
    )
    speech: Annotated[UploadFile | None, Optional_] = Field(None, description="the speech of a dub, uploaded")
    speech_path: Annotated[str | None, Optional_] = Field(
        None, description="or its path below the folder that the service allows", max_length=4096
    )
    container: Container = Field("mp4", description="container of the result")
    consent: bool = Field(
        False, description="that the person who is shown and the owner of the voice agree; needed for a dub"
    )
    reference: Annotated[str | None, Optional_] = Field(
        None, description="your own word for the job, which the webhook is told", max_length=200
    )


def _field(option: Option) -> tuple[Any, Any]:
    """Return type and declaration of an option's field."""
    kind: Any = str if option.kind is Path else option.kind
    kind = Literal[option.choices] if option.choices else kind
    bounds: dict[str, float] = {} if math.isinf(option.least) else {"ge": option.least}
    bounds |= {} if math.isinf(option.most) else {"le": option.most}
    words = {"max_length": 200} if kind is str else {}
    inner = Annotated[kind, Field(**bounds, **words)] if bounds or words else kind  # type: ignore[call-overload]
    return Annotated[inner | None, Optional_], Field(None, description=described(option))


def described(option: Option) -> str:
    """Return the meaning of an option for clients, for whom files are names."""
    return {
        "persona": "name of the persona that is taken",
        "style": "name of the persona whose speaking style is taken",
    }.get(option.name, option.help)


if TYPE_CHECKING:
    JobForm = JobFields
else:
    JobForm = create_model(
        "JobForm",
        __base__=JobFields,
        __doc__="Fields of a new job.",
        **{option.name: _field(option) for option in client_options()},
    )


def chosen_options(form: JobFields) -> dict[str, Any]:
    """Return the options that a form chooses, by name."""
    values = {option.name: getattr(form, option.name) for option in client_options()}
    return {name: value for name, value in values.items() if value is not None}


def dub_options(defaults: DubOptions, chosen: dict[str, Any], personas: Path | None) -> DubOptions:
    """Return the options of a dub.

    Args:
        defaults: The operator's.
        chosen: A client's, by name.
        personas: Folder of the personas that a client may name; None for none.

    Raises:
        PersonaTalkError: A value is not allowed, or there is no such persona.
    """
    values = dict(chosen)
    if "face" in values and isinstance(parse_choice(values["face"]), FaceImage):
        raise PersonaTalkError("face: an image of the person cannot be named here; give a number, a side or a place")
    for name in PERSONAS:
        if name in values:
            known = {path.stem: path for path in persona_files(personas)}
            if values[name] not in known:
                raise PersonaTalkError(f"{name}: there is no such persona; known are {', '.join(known) or 'none'}")
            values[name] = known[values[name]]
    return with_options(defaults, values)


def persona_files(folder: Path | None) -> list[Path]:
    """Return the personas of a folder, in the order of their names."""
    return [] if folder is None else sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())


def _control(option: Option) -> str:
    """Return what the page shows for an option."""
    if option.name in PERSONAS:
        return "persona"
    kinds: dict[type, str] = {bool: "switch", int: "number", float: "number"}
    return "choice" if option.choices else kinds.get(option.kind, "text")


def page_fields(defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options that clients may choose as the page's form needs them, JSON-able.

    Args:
        defaults: The operator's values, by name.
    """
    return [
        {
            "name": option.name,
            "kind": _control(option),
            "help": described(option),
            "otherwise": option.otherwise,
            "group": option.group,
            "default": None if option.kind is Path else defaults[option.name],
            "choices": option.choices,
            "least": None if math.isinf(option.least) else option.least,
            "most": None if math.isinf(option.most) else option.most,
            "whole": option.kind is int,
        }
        for option in client_options()
    ]
