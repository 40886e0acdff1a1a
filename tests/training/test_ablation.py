"""The ablations of Table 4."""

from __future__ import annotations

from pathlib import Path

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.training import ablation


def test_every_row_of_table_4_has_its_weights(tmp_path: Path) -> None:
    for name in ablation.VARIANTS:
        folder = ablation.run_folder(tmp_path, name)
        folder.mkdir()
        (folder / "best.safetensors").write_bytes(b"")
    rows = ablation.ablation_weights(tmp_path)
    assert list(rows) == ["full", "w/o style", "w/o Face-Attention", "w/o Lip-Attention", "w/o frame selection"]
    assert len(set(rows.values())) == 5
    first, second = rows["full"]
    assert rows["w/o style"][1] == second and rows["w/o style"][0] != first
    assert all(rows[n][0] == first and rows[n][1] != second for n in list(rows)[2:])
    (ablation.run_folder(tmp_path, "w/o Lip-Attention") / "best.safetensors").unlink()
    with pytest.raises(PersonaTalkError, match=r"wo_Lip-Attention.*let 'personatalk ablate' end"):
        ablation.ablation_weights(tmp_path)
