"""Verification: what counts as a sign of a dub, and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from personatalk.provenance.c2pa_reader import Credentials
from personatalk.provenance.options import Provenance
from personatalk.provenance.signing import ProvenancePlan
from personatalk.provenance.verify import Verification
from personatalk.provenance.watermark import WatermarkResult

NOTHING = Verification("a.mp4", Credentials(), WatermarkResult())
FOUND = WatermarkResult(True, 9.5, 4.7, [[0.0, 3.0]])


@pytest.mark.parametrize(
    "sign",
    [
        {"watermark": FOUND},
        {"tags": {"comment": "PersonaTalk"}},
        {"credentials": Credentials("valid", generated=True)},
        {"credentials": Credentials("invalid", ["claim: mismatch"])},
    ],
)
def test_each_sign_alone_is_enough(sign: dict[str, object]) -> None:
    assert not NOTHING.anything
    assert replace(NOTHING, **sign).anything  # type: ignore[arg-type]


def test_the_summary_and_the_json_tell_every_finding() -> None:
    found = replace(NOTHING, watermark=FOUND, credentials=Credentials("valid", signer="Jane", ranges=[[0.0, 1.5]]))
    text = "\n".join(found.summary())
    assert "watermark: found in 0.00 s to 3.00 s (score 9.5, threshold 4.7)" in text
    assert "signed by 'Jane'" in text and "not trusted" in text and "generated: 0.00 s to 1.50 s" in text
    content = json.loads(found.json())
    assert content["anything"] and content["watermark"]["score"] == 9.5
    # JSON has no infinity.
    assert json.loads(NOTHING.json())["watermark"]["threshold"] is None
    assert "no face" in "\n".join(NOTHING.summary())


def test_an_output_without_provenance_says_so_in_its_warnings() -> None:
    plan = ProvenancePlan.decide(Provenance(on=False), Path("out.mp4"), Path("in.mp4"), [])
    assert plan.tags is None and not plan.watermark and "--no-provenance" in plan.warnings[0]
    plan = ProvenancePlan.decide(Provenance(), Path("out.mkv"), Path("in.mp4"), [])
    assert plan.signer is None and plan.watermark and ".mkv" in plan.warnings[0]
