"""The moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from personatalk.training.checkpoints import EMA


def test_the_average_follows_the_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    averaged = EMA(network, decay=0.9)
    start = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight.add_(1)
        network[1].running_mean.add_(3)
    averaged.update(network)
    mean = averaged.network[0].weight
    torch.testing.assert_close(mean, start + 10 / 11)  # the first step counts nearly wholly
    torch.testing.assert_close(averaged.network[1].running_mean, network[1].running_mean)
    assert not mean.requires_grad and not averaged.network.training
    assert network.training and network[0].weight.requires_grad
    for _ in range(200):
        averaged.update(network)
    torch.testing.assert_close(mean, network[0].weight, atol=1e-4, rtol=0)
    before = mean.clone()
    with torch.no_grad():
        network[0].weight.add_(1)
    averaged.update(network)
    torch.testing.assert_close(mean - before, torch.full_like(mean, 0.1), atol=1e-3, rtol=0)
