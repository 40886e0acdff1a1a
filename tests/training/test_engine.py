"""The training loop: exact resumption, many processes, schedule, drawing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up
from safetensors.torch import load_file, save_file
from torch import nn

from personatalk.cli.main import main
from personatalk.errors import PersonaTalkError, WeightsError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.config import Stage1Config, TrainConfig
from personatalk.training.engine import (
    PartResult,
    Step,
    Task,
    Validation,
    clip_sampler,
    fit,
    lr_at,
    make_fabric,
    to_device,
)
from personatalk.training.stage1 import initial_network

CONFIG = TrainConfig(
    train_splits=(),
    val_splits=(),
    seed=3,
    steps=9,
    batch_size=4,
    lr=0.05,
    warmup_steps=2,
    final_lr_ratio=0.1,
    ema_decay=0.5,
    log_every=1,
    validate_every=4,
    save_every=1,
)


class Sum(Task[torch.Tensor]):
    """Learns to sum four numbers; a second part follows the first one's output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 1))
        self.follower = nn.Linear(1, 1)
        self.seen: list[tuple[str, float]] = []

    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "network": [{"params": list(self.network.parameters()), "scale": 0.5}],
            "follower": [{"params": list(self.follower.parameters())}],
        }

    def should_step(self, part: str, progress: float) -> bool:
        return part == "network" or progress > 0.5

    def sample(self, random: np.random.Generator, place: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal(4).astype(np.float32))

    def losses(self, samples: Sequence[torch.Tensor], step: Step) -> PartResult:
        x = torch.stack(list(samples))
        self.seen.append((step.part, float(x.sum())))
        if step.part == "follower":
            (made,) = step.outputs
            return PartResult({"follow": (self.follower(made) - made).square().mean()})
        made = self.network(x)
        return PartResult({"sum": (made - x.sum(dim=1, keepdim=True)).square().mean()}, [made.detach()])

    def validate(self, network: nn.Module) -> Validation:
        x = torch.eye(4)
        return Validation({"score": -float((network(x) - 1).square().mean())}, "score")

    def save(self, network: nn.Module, path: Path) -> None:
        save_file(network.state_dict(), path)


def config(**changes: Any) -> TrainConfig:
    return replace(CONFIG, **changes)


def trained(folder: Path, **changes: Any) -> Sum:
    task, how = Sum(), config(**changes)
    fit(task, how, folder, make_fabric(how, "cpu", 1), changes.get("minutes"))
    return task


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained(tmp_path / "whole")
    curve = [line for line in capsys.readouterr().out.splitlines() if "val" not in line]
    task, how = Sum(), config()
    engine = make_fabric(how, "cpu", 1)

    class Killed(Sum):
        def sample(self, random: np.random.Generator, place: int) -> torch.Tensor:
            if len(self.seen) >= 6:
                raise KeyboardInterrupt
            return super().sample(random, place)

    with pytest.raises(KeyboardInterrupt):
        fit(Killed(), how, tmp_path / "cut", engine)
    fit(task, how, tmp_path / "cut", engine)
    again = [line for line in capsys.readouterr().out.splitlines() if "val" not in line]
    assert again == curve and len(curve) == 9
    for name, wanted in whole.state_dict().items():
        assert torch.equal(task.state_dict()[name], wanted), name
    for name in ("best.safetensors", "last.safetensors"):
        a, b = (load_file(tmp_path / f / name) for f in ("whole", "cut"))
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_time_ends_a_training_with_a_checkpoint(tmp_path: Path) -> None:
    task, how = Sum(), config()
    fit(task, how, tmp_path, make_fabric(how, "cpu", 1), minutes=0)
    assert task.seen == []
    assert (tmp_path / "checkpoint.pt").exists()


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    first = trained(tmp_path)
    second = trained(tmp_path)
    assert second.seen == []
    for name, wanted in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], wanted)


def test_parts_take_their_steps_when_they_are_due(tmp_path: Path) -> None:
    task = trained(tmp_path, steps=5)
    assert [part for part, _ in task.seen] == ["network"] * 3 + ["network", "follower"] * 2
    # Both parts of a step see the same samples, other steps others.
    assert task.seen[3][1] == task.seen[4][1] != task.seen[5][1]


def test_a_run_keeps_to_its_configuration_but_may_be_made_longer(tmp_path: Path) -> None:
    trained(tmp_path, steps=2)
    assert [part for part, _ in trained(tmp_path, steps=3).seen] == ["network", "follower"], "one step"
    with pytest.raises(PersonaTalkError, match="another seed, lr"):
        trained(tmp_path, steps=4, seed=9, lr=0.01)


@pytest.mark.slow
def test_a_schedule_may_follow_the_clock(tmp_path: Path) -> None:
    task, how = Sum(), config(steps=0, log_every=10**6, validate_every=10**6, save_every=10**6)
    with pytest.raises(PersonaTalkError, match="--minutes"):
        fit(task, how, tmp_path, make_fabric(how, "cpu", 1))
    metrics = fit(task, how, tmp_path, make_fabric(how, "cpu", 1), minutes=1 / 60)
    assert {part for part, _ in task.seen} == {"network", "follower"}
    assert "score" in metrics and (tmp_path / "best.safetensors").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="choose another folder"):
        trained(tmp_path)


def test_the_rate_rises_and_falls() -> None:
    how = config(steps=100, warmup_steps=10, lr=1.0, final_lr_ratio=0.2)
    rates = [lr_at(how, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1, abs=0.01)
    assert max(rates) == rates[9] == pytest.approx(1, abs=0.02)
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[100] == pytest.approx(0.2)


def test_no_speaker_counts_for_more_than_a_share() -> None:
    choose = clip_sampler([100, 100, 100, 100], ["a", "a", "a", "b"], max_frames=100)
    random = np.random.default_rng(0)
    drawn = np.bincount([choose(random) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, [1 / 6, 1 / 6, 1 / 6, 1 / 2], atol=0.03)


def test_tensors_move_wherever_they_are() -> None:
    value = [torch.zeros(1), Validation({"a": 1.0}, "a"), (torch.ones(2), None, 3)]
    there = to_device(value, torch.device("meta"))
    assert there[0].device.type == there[2][0].device.type == "meta"
    assert there[1] == value[1] and there[2][1:] == (None, 3)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path, model: MorphableModel) -> None:
    clips = [made_up(model, f"{split}-00000{n}", frames=40, split=split) for split in ("train", "val") for n in (0, 1)]
    data = dataset(tmp_path, clips)
    words = ["train", "stage1", str(data), "--accelerator", "cpu"]
    for change in (
        "batch_size=4",
        "steps=3",
        "dropout=0",
        "num_variants=1",
        "window_frames=30",
        "precision=32-true",
        "warmup_steps=1",
    ):
        words += ["--set", change]
    assert main([*words, "-o", str(tmp_path / "one")]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*torchrun, "-m", "personatalk", *words, "--devices", "2", "-o", str(tmp_path / "two")]
    done = subprocess.run(two, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    stored = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("one", "two")]
    a, b = (s["averaged"] for s in stored)
    fresh = initial_network(Stage1Config(), model).state_dict()
    moved_by = {name: float((a[name] - fresh[name]).abs().mean()) for name in a if a[name].is_floating_point()}
    apart = {name: float((a[name] - b[name]).abs().mean()) for name in moved_by}
    # Sums of gradients are rounded in another order, and Adam makes a full step of what is near zero.
    assert stored[0]["step"] == stored[1]["step"] == 3
    assert sum(moved_by.values()) > 0.01
    assert sum(apart.values()) < 0.02 * sum(moved_by.values())
