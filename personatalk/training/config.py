"""The fields that configure the trainers, with their meanings and defaults.

Every field is defined here once; `config_files` reads values for them from YAML files and from the command line. This
module loads nothing heavy, so that the command line can list the fields at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..utils.options import check_options, option, options_of

# Column at which the meanings of the fields stand in a printed configuration.
MEANING_COLUMN = 36


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Fields that all trainers share. A trainer that overrides a default keeps the meaning given here.

    Raises:
        PersonaTalkError: A number is out of its range.
    """

    datasets: tuple[str, ...] = option((), "folders made by 'personatalk data prepare'; several are taken together")
    train_splits: tuple[str, ...] = option(("train",), "splits to train on")
    val_splits: tuple[str, ...] = option(("val",), "splits of other speakers to validate on")
    seed: int = option(0, "seed of all random numbers")
    steps: int = option(1000, "steps of the whole schedule; 0: as many as --minutes allow", least=0)
    batch_size: int = option(8, "samples of a step, over all processes together", least=1)
    lr: float = option(1e-3, "highest learning rate (AdamW)")
    warmup_steps: int = option(100, "steps over which the rate rises; then it falls along a cosine")
    final_lr_ratio: float = option(0.05, "learning rate at the end, as a share of the highest")
    weight_decay: float = option(0.01, "weight decay of all parameters (AdamW)")
    grad_clip: float = option(1.0, "largest norm of the gradient")
    ema_decay: float = option(0.995, "decay of the exponential moving average of the weights, which is what is saved")
    precision: str = option("32-true", "Lightning Fabric's: 32-true or bf16-mixed")
    log_every: int = option(50, "steps between lines of the log and points of the curves", least=1)
    validate_every: int = option(
        250, "steps between validations; the best average is kept as best.safetensors", least=1
    )
    save_every: int = option(250, "steps between checkpoints", least=1)
    workers: int = option(0, "processes that read and draw samples; 0: the training itself does", least=0)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class Stage1Config(TrainConfig):
    """Fields of stage 1's training; the defaults are those that the shipped weights were trained with.

    The losses are in per cent of the distance between the eyes.
    """

    steps: int = 400
    lr: float = 5e-4
    final_lr_ratio: float = 0.0
    weight_decay: float = 0.02
    precision: str = "32-true"
    validate_every: int = 100
    save_every: int = 100
    max_frames_per_speaker: int = option(1500, "frames at most counted of one speaker when clips are sampled", least=1)
    window_frames: int = option(100, "frames of a training window", least=1)
    num_variants: int = option(4, "augmented copies (speed, gain, tilt, noise) of every clip", least=1)
    amplitude_std: float = option(0.2, "spread of a random log-factor on the mouth's motion, style and target alike")
    articulation: float = option(
        1.25, "factor on the motion to generate over that which its style shows, against the damping of a mean", least=0
    )
    backbone: str | None = option(None, "a HuBERT or Whisper checkpoint (folder or hub name); null: the shipped one")
    init_from: str | None = option(None, "weights of an earlier training to start from")
    dropout: float = option(0.2, "dropout of the transformer layers")
    channel_dropout: float = option(
        0.2, "share of the audio features' channels left out of a window", least=0, most=0.9
    )
    ridge: float = option(1.0, "ridge of the linear map, as a share of the mean variance of its inputs", least=0)
    use_style: bool = option(True, "false: ablation 'w/o style' of Table 4")
    vertex_weight: float = option(3.0, "loss: L1 on the vertices of the lower face, lips four times")
    velocity_weight: float = option(6.0, "loss: L1 on their motion from frame to frame")
    opening_weight: float = option(0.5, "loss: L1 on the gap between the lips, up to three times where it is closed")
    closure_weight: float = option(1.0, "loss: gap left between lips that are closed in truth")
    spread_weight: float = option(0.4, "loss: L1 on the spread of the opening: against under-articulation")
    correlation_weight: float = option(6.0, "loss: one minus the correlation of the opening over a window")


@dataclass(frozen=True, kw_only=True)
class Stage2Config(TrainConfig):
    """Fields of stage 2's training; the defaults are those that the shipped weights were trained with.

    The losses are taken over the generated region.
    """

    steps: int = 8000
    batch_size: int = 2
    final_lr_ratio: float = 0.1
    weight_decay: float = 0.001
    ema_decay: float = 0.998
    precision: str = "bf16-mixed"
    validate_every: int = 500
    save_every: int = 100
    max_frames_per_speaker: int = option(750, "frames at most counted of one speaker when clips are sampled", least=1)
    crop_size: int = option(256, "side of the crops in pixels: 256, or 128 to begin with", least=1)
    targets_per_window: int = option(3, "targets that share the references of a window", least=1)
    mouth_share: float = option(0.8, "share of the windows that show the mouth alone, which are cheaper by far")
    tint_std: float = option(0.08, "spread of a random colour cast of a window")
    init_from: str | None = option(None, "weights of an earlier training to start from")
    channels: int = option(64, "size of the latents", least=1)
    width: int = option(96, "width of the decoder", least=1)
    use_lip: bool = option(True, "false: ablation 'w/o Lip-Attention' of Table 4")
    use_face: bool = option(True, "false: ablation 'w/o Face-Attention'")
    sharpness: float = option(4.0, "factor on the attention's scores outside training: see docs/method.md")
    use_selection: bool = option(True, "false: ablation 'w/o frame selection': references are random frames")
    pixel_weight: float = option(1.0, "loss: L1 between pixels")
    pyramid_weight: float = option(1.0, "loss: L1 on a Laplacian pyramid of three levels, the finest twice")
    mouth_weight: float = option(4.0, "weight of the lips against the rest of the region in both")
    perceptual_weight: float = option(0.0, "loss: squared difference of the features of EfficientNet-Lite0")
    adversarial_weight: float = option(0.0, "loss: hinge loss of a patch discriminator")
    feature_matching_weight: float = option(1.0, "L1 between features of the discriminator, times adversarial_weight")
    adversarial_start: float = option(
        0.5, "share of the training after which there is a discriminator", least=0, most=1
    )
    resident: bool = option(False, "keep all frames drawn on the device, so that it never waits: 1 MB each")


@dataclass(frozen=True, kw_only=True)
class StyleConfig(TrainConfig):
    """Fields of the training of the style encoder of StyleSim, contrastively on expression-only geometry."""

    steps: int = 1500
    batch_size: int = 1
    lr: float = 5e-4
    weight_decay: float = 0.05
    speakers_per_group: int = option(
        32, "speakers of a sample, two windows each: more are harder to tell apart", least=1
    )
    noise_std: float = option(0.05, "spread of random noise on the coefficients, in their standard deviations")
    dropout: float = option(0.2, "dropout of the transformer layers")
    temperature: float = option(0.1, "temperature of the contrastive loss")


# The configuration of every trainer, by the name that `personatalk train` takes.
CONFIGS: dict[str, type[TrainConfig]] = {
    "stage1": Stage1Config,
    "stage2": Stage2Config,
    "style": StyleConfig,
}


def as_yaml(config: TrainConfig) -> str:
    """Return a configuration as YAML: a field a line, with its value and, as a comment, its meaning."""
    kind: type = type(config)
    lines = []
    for each in options_of(kind):
        value = json.dumps(getattr(config, each.name))
        lines.append(f"{each.name}: {value}".ljust(MEANING_COLUMN) + f"  # {each.help}")
    return "\n".join(lines)
