"""Draws docs/architecture.svg from the text below: the way of the data, and the floors of the package.

python scripts/draw_architecture.py
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "docs/architecture.svg"

# Boxes of the data's way: name = column, row, folder or "file", title, lines of text.
BOXES = """
speech      = 0 0 file       | Speech       | audio, or the audio of a video
video       = 0 1 file       | Video        | any container and codec
encoder     = 1 0 audio      | Audio        | encoder: 16 kHz to features at 25/s ; loudness, voice activity
reader      = 1 1 media      | Reader       | frames with their own times, ; samples, index, timeline
faces       = 2 1 faces      | Faces        | shots, landmarks, who is who, ; what is in front of the mouth
fitting     = 3 1 geometry   | Fitting      | shape alpha of each shot, ; expression beta and pose per frame
generator   = 3 0 stage1     | Stage 1      | expressions to a style; speech and ; style to lip-synced vertices
map         = 4 0 stage2     | Geometry map | PNCC, M_lip, mask
references  = 3 2 stage2     | References   | lip references of the shot, ; face references around the frame
renderer    = 4 1 stage2     | Stage 2      | Lip-Attention, Face-Attention, ; decoder: a crop of 256 x 256
compositing = 5 1 pipeline   | Compositing  | colour, watermark, mask, ; back into the frame
writer      = 5 2 media      | Writer       | one encode, ; other tracks are copied
signing     = 5 3 provenance | Signing      | tags, C2PA manifest
output      = 4 3 file       | Output       | gets its name when it is whole
"""

# Arrows of the data's way: from -> to | what goes there.
ARROWS = """
speech -> reader |
reader -> encoder | samples
encoder -> generator | features
video -> reader |
reader -> faces | frames
reader -> references | crops
faces -> fitting | landmarks
fitting -> generator | expressions, shape
fitting -> map | pose, upper face
generator -> map | vertices
map -> renderer | queries
references -> renderer | keys, values
fitting -> references | opening
renderer -> compositing | crop
compositing -> writer | frames
writer -> signing |
signing -> output |
"""

# Floors, highest first: a folder imports only from floors below its own.
FLOORS = """
cli           | commands and their options, progress bars
service       | jobs over HTTP, worker processes, the page in the browser
evaluation    | measures dubs, ours and any other system's
training      | data sets, trainers, ablations: makes the weights
pipeline      | the whole dub: options, casting, rendering, personas, cues, batches, report
provenance    | tags, C2PA, certificates, watermark, verification
stage2        | dual-attention renderer: references, geometry map, attention, compositing
stage1        | speech and style to geometry; style similarity
faces         | shots, landmarks, who is who, analysis of a video, occlusion
geometry      | morphable model, camera, fitting, rasterizer, masks, Basel
media         | video in and out: probe, reader, timeline, codecs, writer, segments
audio         | audio encoder, loudness, voice activity
utils, sample | files, weight files, processes, threads; the embedded sample
errors        | a module: the errors that a user can cause
version       | a module: the installed version
"""

COLOURS = {
    "file": "#ffffff",
    "cli": "#eceff1",
    "service": "#eceff1",
    "evaluation": "#efebe9",
    "training": "#efebe9",
    "pipeline": "#e8eaf6",
    "provenance": "#fce4ec",
    "stage2": "#fff3e0",
    "stage1": "#fffde7",
    "faces": "#e8f5e9",
    "geometry": "#e0f2f1",
    "media": "#e3f2fd",
    "audio": "#f3e5f5",
    "utils, sample": "#f5f5f5",
    "errors": "#f5f5f5",
    "version": "#f5f5f5",
}

# Pixels: size of a box, distance of columns and rows, margin, height of a floor.
BOX_WIDTH, BOX_HEIGHT = 214, 74
COLUMN, ROW = 294, 126
MARGIN, TOP = 24, 62
FLOOR = 30
WIDTH = 2 * MARGIN + 5 * COLUMN + BOX_WIDTH
FLOORS_TOP = TOP + 3 * ROW + BOX_HEIGHT + 76


@dataclass(frozen=True)
class Box:
    """A step of the data's way; `column` and `row` count from 0."""

    column: int
    row: int
    folder: str
    title: str
    lines: list[str]

    @property
    def left(self) -> int:
        """Left edge in pixels."""
        return MARGIN + self.column * COLUMN

    @property
    def top(self) -> int:
        """Upper edge in pixels."""
        return TOP + self.row * ROW


def boxes() -> dict[str, Box]:
    """Boxes by name."""
    found = {}
    for line in BOXES.strip().splitlines():
        name, rest = line.split("=", 1)
        place, title, text = (part.strip() for part in rest.split("|"))
        column, row, folder = place.split()
        found[name.strip()] = Box(int(column), int(row), folder, title, [part.strip() for part in text.split(";")])
    return found


def floors() -> list[tuple[str, str]]:
    """Floors and what they hold, highest first."""
    pairs = (line.split("|") for line in FLOORS.strip().splitlines())
    return [(name.strip(), text.strip()) for name, text in pairs]


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Return a line of text; `x`, `y` are its anchor on the base line."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{style}">{escape(words)}</text>'


def draw_box(box: Box) -> list[str]:
    """Return the elements of a box."""
    edge = "file" if box.folder == "file" else "box"
    middle = box.left + BOX_WIDTH / 2
    folder = "" if box.folder == "file" else f"{box.folder}/"
    parts = [
        f'<rect x="{box.left}" y="{box.top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" class="{edge}"'
        f' fill="{COLOURS[box.folder]}"/>',
        text(middle, box.top + 20, box.title, "title", "middle"),
        text(box.left + BOX_WIDTH - 8, box.top - 5, folder, "folder", "end"),
    ]
    parts += [text(middle, box.top + 41 + 17 * k, line, "small", "middle") for k, line in enumerate(box.lines)]
    return parts


def draw_arrow(source: Box, target: Box, label: str) -> list[str]:
    """Return an arrow from the facing edge of one box to that of another, with its label."""
    across, down = target.column - source.column, target.row - source.row
    x0, y0 = source.left + BOX_WIDTH / 2, source.top + BOX_HEIGHT / 2
    x1, y1 = target.left + BOX_WIDTH / 2, target.top + BOX_HEIGHT / 2
    if across:
        side = 1 if across > 0 else -1
        x0, x1 = x0 + side * BOX_WIDTH / 2, x1 - side * BOX_WIDTH / 2
    if down:
        side = 1 if down > 0 else -1
        if not across:
            y0, y1 = y0 + side * BOX_HEIGHT / 2, y1 - side * BOX_HEIGHT / 2
        else:
            y0, y1 = y0 + side * BOX_HEIGHT / 3, y1 - side * BOX_HEIGHT / 3
    line = f'<line x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}" class="arrow" marker-end="url(#head)"/>'
    if not across:
        return [line, text((x0 + x1) / 2 + 8, (y0 + y1) / 2 + 9 * (1 if down > 0 else -1), label, "label")]
    if down:
        return [line, text((x0 + x1) / 2 + 6, (y0 + y1) / 2 + (12 if down > 0 else 16), label, "label")]
    return [line, text((x0 + x1) / 2, y0 - 7, label, "label", "middle")]


def draw_floors() -> list[str]:
    """Return the floors, each as a band."""
    parts = []
    for number, (name, holds) in enumerate(floors()):
        y = FLOORS_TOP + number * FLOOR
        width = WIDTH - 2 * MARGIN
        parts += [
            f'<rect x="{MARGIN}" y="{y}" width="{width}" height="{FLOOR - 4}" rx="4" class="box"'
            f' fill="{COLOURS[name]}"/>',
            text(MARGIN + 12, y + 18, name, "title"),
            text(MARGIN + 160, y + 18, holds, "small"),
        ]
    return parts


def drawing() -> str:
    """Return the drawing as SVG."""
    height = FLOORS_TOP + len(floors()) * FLOOR + MARGIN
    known = boxes()
    parts = [text(MARGIN, 30, "The way of the data", "heading")]
    for line in ARROWS.strip().splitlines():
        ends, label = line.split("|")
        source, target = (known[name.strip()] for name in ends.split("->"))
        parts += draw_arrow(source, target, label.strip())
    for box in known.values():
        parts += draw_box(box)
    parts.append(text(MARGIN, FLOORS_TOP - 18, "The floors: a folder imports only from those below its own", "heading"))
    parts += draw_floors()
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">
<title>PersonaTalk: the way of the data, and the floors of the package</title>
<style>
.heading {{ font-size: 19px; font-weight: bold; fill: #222 }}
.title {{ font-size: 15px; font-weight: bold; fill: #222 }}
.small {{ font-size: 12px; fill: #333 }}
.label {{ font-size: 12px; font-style: italic; fill: #555 }}
.folder {{ font-size: 11px; fill: #777 }}
.box {{ stroke: #78909c }}
.file {{ stroke: #78909c; stroke-dasharray: 5 3 }}
.arrow {{ stroke: #455a64; stroke-width: 1.6 }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 z" fill="#455a64"/></marker></defs>
<rect width="{WIDTH}" height="{height}" fill="#fdfdfd"/>
{body}
</svg>
"""


if __name__ == "__main__":
    OUTPUT.write_text(drawing(), "utf-8")
