"""Table 3 of the paper: a blinded rating page for a user study, and mean opinion scores from its answers.

The page is static and works from disk without a network. Videos get random names; which is which is written beside the
page, not into it. Each rater sees all videos in an order of their own, with the original beside, and answers by keys.
"""

from __future__ import annotations

import html
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PersonaTalkError
from ..media.codecs import VIDEO_SUFFIXES
from .metrics import bootstrap

# The three questions of the paper's Table 3.
QUESTIONS = {
    "visual": "How good does the image look? (sharp, no seams, no flicker)",
    "sync": "How well do lips and words go together?",
    "persona": "How much is it the same person, and their way of speaking, as in the original?",
}
SCALE = (1, 5)
PAGE, KEY = "page", "key.json"
# Containers that browsers commonly play.
PLAYABLE = (".mp4", ".webm", ".m4v")


@dataclass(frozen=True)
class Opinion:
    """Mean opinion of a system on a question, with its 95 % interval, and the number of ratings."""

    system: str
    question: str
    mean: float
    low: float
    high: float
    ratings: int


def make(systems: dict[str, Path], original: Path | None, output: Path, seed: int = 0) -> int:
    """Write the page and its key.

    Args:
        systems: Folder of videos by system; videos of the same clip have the same name, whatever their suffix.
        original: Folder of the original videos, shown beside; None to show none.
        output: A new folder: `page/index.html`, `page/*.mp4`, and `key.json`, which raters must not see.
        seed: Seed of the blind names.

    Returns:
        The number of videos to rate.

    Raises:
        PersonaTalkError: A folder is none, lacks a clip that others have, or the output is there already.
    """
    if output.exists():
        raise PersonaTalkError(f"{output}: is there already; name a new folder")
    found = {name: _videos(folder) for name, folder in systems.items()}
    clips = sorted(set.union(*(set(v) for v in found.values())))
    for name, videos in found.items():
        if lacking := sorted(set(clips) - set(videos)):
            raise PersonaTalkError(f"{systems[name]}: lacks {', '.join(lacking)}, which other systems have")
    originals = {} if original is None else _videos(original)
    if original is not None and (lacking := sorted(set(clips) - set(originals))):
        raise PersonaTalkError(f"{original}: lacks the original of {', '.join(lacking)}")
    number = secrets.token_hex(4)
    random = np.random.default_rng(seed)
    names = [f"{n:06x}" for n in random.choice(16**6, len(clips) * (len(found) + 1), replace=False)]
    page = output / PAGE
    page.mkdir(parents=True)
    key, items = {}, []
    for clip in clips:
        beside = None
        if clip in originals:
            beside = _copied(originals[clip], page, names.pop())
        for name, videos in found.items():
            shown = _copied(videos[clip], page, names.pop())
            key[shown] = {"system": name, "clip": clip}
            items.append({"video": shown, "original": beside})
    order = random.permutation(len(items))
    # Listed in no order, so that the page's source gives nothing away.
    (page / "index.html").write_text(_page([items[i] for i in order], number), encoding="utf8")
    (output / KEY).write_text(json.dumps({"study": number, "videos": key, "systems": list(systems)}, indent=1))
    return len(items)


def _videos(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise PersonaTalkError(f"{folder}: no such folder")
    found = {f.stem: f for f in sorted(folder.iterdir()) if f.suffix.lower() in VIDEO_SUFFIXES}
    if not found:
        raise PersonaTalkError(f"{folder}: holds no video")
    for video in found.values():
        if video.suffix.lower() not in PLAYABLE:
            raise PersonaTalkError(f"{video}: browsers play {', '.join(PLAYABLE)} only; convert it, all systems alike")
    return found


def _copied(video: Path, page: Path, name: str) -> str:
    shown = name + video.suffix.lower()
    shutil.copyfile(video, page / shown)
    return shown


def score_study(study: Path, answers: Sequence[Path]) -> list[Opinion]:
    """Compute the mean opinion scores of all systems.

    Args:
        study: The folder that `make` wrote.
        answers: Files that raters' pages gave.

    Returns:
        One opinion for each system and question. Intervals are over ratings averaged by rater where there are several
        raters, as one rater's answers are not independent.

    Raises:
        PersonaTalkError: A file cannot be read, belongs to another study, or an answer is off the scale.
    """
    try:
        key = json.loads((study / KEY).read_text())
        videos, systems, number = key["videos"], key["systems"], key["study"]
        if not all(isinstance(system, str) for system in systems) or not isinstance(systems, list):
            raise ValueError("its systems are not a list of names")
        if not {video["system"] for video in videos.values()} <= set(systems):
            raise ValueError("a video belongs to no system")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PersonaTalkError(f"{study / KEY}: no key of a study ({error})") from error
    ratings: dict[tuple[str, str], list[list[float]]] = {(s, q): [] for s in systems for q in QUESTIONS}
    raters: dict[str, Path] = {}
    for file in answers:
        rater, given = _answers(file, videos, number)
        if rater in raters:
            raise PersonaTalkError(f"{file} and {raters[rater]}: answers of one rater; give the later one")
        raters[rater] = file
        for (system, question), found in ratings.items():
            own = [a[question] for name, a in given.items() if videos[name]["system"] == system and question in a]
            if own:
                found.append([float(x) for x in own])
    return [_opinion(system, question, found) for (system, question), found in ratings.items()]


def _opinion(system: str, question: str, raters: list[list[float]]) -> Opinion:
    everything = [x for rater in raters for x in rater]
    if not everything:
        return Opinion(system, question, float("nan"), float("nan"), float("nan"), 0)
    units = [float(np.mean(r)) for r in raters] if len(raters) > 1 else everything
    low, high = bootstrap(units)
    return Opinion(system, question, float(np.mean(everything)), low, high, len(everything))


def _answers(file: Path, videos: dict[str, Any], number: str) -> tuple[str, dict[str, dict[str, int]]]:
    try:
        content = json.loads(file.read_text(encoding="utf8"))
        given, rater, study = content["answers"], str(content["rater"]), content["study"]
        pairs = [(name, q, value) for name, found in given.items() for q, value in found.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PersonaTalkError(f"{file}: not the answers of a rater ({error})") from error
    if study != number:
        raise PersonaTalkError(f"{file}: answers of another study")
    for name, question, value in pairs:
        if name not in videos:
            raise PersonaTalkError(f"{file}: rates {name}, which this study does not have")
        if question not in QUESTIONS or value not in range(SCALE[0], SCALE[1] + 1):
            raise PersonaTalkError(f"{file}: {name}, {question}: {value!r} is no answer from {SCALE[0]} to {SCALE[1]}")
    return rater, dict(given)


def opinion_table(opinions: list[Opinion]) -> str:
    """Return the opinions as a table in Markdown."""
    lines = ["| | " + " | ".join(QUESTIONS) + " | ratings |", "|---|" + "---|" * (len(QUESTIONS) + 1)]
    for system in dict.fromkeys(o.system for o in opinions):
        own = [o for o in opinions if o.system == system]
        cells = [f"{o.mean:.2f} [{o.low:.2f}, {o.high:.2f}]" for o in own]
        lines.append(f"| {system} | " + " | ".join(cells) + f" | {sum(o.ratings for o in own)} |")
    return "\n".join(lines)


def _page(items: list[dict[str, str | None]], number: str) -> str:
    questions = "".join(
        f'<fieldset data-question="{name}"><legend>{html.escape(text)}</legend>'
        + "".join(
            f'<label><input type="radio" name="{name}" value="{v}"> {v}</label>' for v in range(SCALE[0], SCALE[1] + 1)
        )
        + "</fieldset>"
        for name, text in QUESTIONS.items()
    )
    return TEMPLATE.replace("@QUESTIONS@", questions).replace("@ITEMS@", json.dumps(items)).replace("@STUDY@", number)


TEMPLATE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Rating study</title>
<meta name="viewport" content="width=device-width">
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:1.5rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
.pair{display:flex;gap:1rem;flex-wrap:wrap}figure{margin:0;flex:1 1 20rem}video{width:100%;background:#000}
fieldset{border:1px solid #ccc;border-radius:6px;margin:.7rem 0}fieldset.now{border-color:#0b62c4;background:#f2f7fd}
label{margin-right:1.2rem;cursor:pointer}button{font:inherit;padding:.3rem 1rem}kbd{background:#eee;padding:0 .3em}
</style>
<h1>Rating study</h1>
<p id="progress" aria-live="polite"></p>
<div class="pair"><figure><figcaption>To rate</figcaption><video id="video" controls></video></figure>
<figure id="beside"><figcaption>Original</figcaption><video id="original" controls></video></figure></div>
<form id="form">@QUESTIONS@</form>
<p><button id="back">Back</button> <button id="next">Next</button> <button id="save">Save answers</button></p>
<p>1 is bad, 5 is excellent. Keys: <kbd>1</kbd> to <kbd>5</kbd> answer the marked question, <kbd>space</kbd> plays,
<kbd>&larr;</kbd> <kbd>&rarr;</kbd> go back and on, <kbd>s</kbd> saves.</p>
<script>
"use strict";
const items = @ITEMS@;
const store = "personatalk-study-@STUDY@";
let state = {rater: null, order: [], answers: {}, place: 0};
try { state = JSON.parse(localStorage.getItem(store)) || state; } catch (error) { /* private mode: nothing is kept */ }
if (!state.rater) {
  state.rater = Math.random().toString(36).slice(2, 10);
  state.order = items.map((_, i) => i);
  for (let i = state.order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [state.order[i], state.order[j]] = [state.order[j], state.order[i]];
  }
}
const by = id => document.getElementById(id);
const sets = [...document.querySelectorAll("fieldset")];
const item = () => items[state.order[state.place]];
const given = () => state.answers[item().video] ||= {};
function keep() { try { localStorage.setItem(store, JSON.stringify(state)); } catch (error) { /* see above */ } }
function mark() {
  const open = sets.find(s => !given()[s.dataset.question]) || sets[sets.length - 1];
  sets.forEach(s => s.classList.toggle("now", s === open));
  const done = Object.values(state.answers).filter(a => Object.keys(a).length === sets.length).length;
  by("progress").textContent = `Video ${state.place + 1} of ${items.length}; ${done} rated`;
}
function show() {
  by("video").src = item().video;
  by("beside").hidden = !item().original;
  if (item().original) by("original").src = item().original;
  sets.forEach(s => s.querySelectorAll("input").forEach(
    i => { i.checked = Number(i.value) === given()[s.dataset.question]; }));
  mark();
  keep();
}
function answer(set, value) {
  given()[set.dataset.question] = value;
  set.querySelector(`input[value="${value}"]`).checked = true;
  mark();
  keep();
}
function move(step) {
  state.place = Math.min(items.length - 1, Math.max(0, state.place + step));
  show();
}
function save() {
  const text = JSON.stringify({study: "@STUDY@", rater: state.rater, answers: state.answers}, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = `answers-${state.rater}.json`;
  link.click();
}
by("form").addEventListener("change", e => answer(e.target.closest("fieldset"), Number(e.target.value)));
by("next").onclick = () => move(1);
by("back").onclick = () => move(-1);
by("save").onclick = save;
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key >= "1" && e.key <= "5") answer(document.querySelector("fieldset.now"), Number(e.key));
  else if (e.key === "ArrowRight") move(1);
  else if (e.key === "ArrowLeft") move(-1);
  else if (e.key === "s") save();
  else if (e.key === " ") by("video").paused ? by("video").play() : by("video").pause();
  else return;
  e.preventDefault();
});
show();
</script></html>
"""
