"""What is measured: a model, a batch of pictures, a precision, a device, and a pass."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from swinkit.backbones import VARIANTS, SwinConfig
from swinkit.classification import Classifier
from swinkit.errors import InputError
from swinkit.models import create_model
from swinkit.ops.windows import Pair, to_pair

Pass = Literal["inference", "training", "maps"]
Precision = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

TOY = SwinConfig(img_size=(112, 112), embed_dim=32, depths=(2, 2, 2), num_heads=(1, 2, 4), out_indices=(2,))
"""A model of no use but to try a benchmark in seconds."""

MODELS: dict[str, SwinConfig] = {"toy": TOY} | {
    name: config for name, config in VARIANTS.items() if isinstance(config, SwinConfig)
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One comparison's setting; the same for every candidate.

    Attributes:
        model: a name in `MODELS`.
        batch: pictures a call.
        size: (height, width) in pixels.
        window: tokens a window side; None for the model's own.
        dtype: inference: of weights and pictures. Training: of autocast, over float32 weights.
        device: "cpu", "cuda" or "cuda:N".
        step: "inference" gives logits; "maps" the four stages' maps, before any norm; "training" is forward,
            cross entropy, backward and one AdamW step.
        threads: CPU threads.
        seed: of weights and pictures.
    """

    model: str = "swin_tiny_patch4_window7_224"
    batch: int = 8
    size: Pair = (224, 224)
    window: int | None = None
    dtype: Precision = "float32"
    device: str = "cpu"
    step: Pass = "inference"
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"unknown model {self.model!r}: choose one of {', '.join(MODELS)}.")
        if self.batch < 1 or min(self.size) < 1 or self.threads < 1:
            raise InputError(
                "batch, size and threads must be at least 1; got "
                f"{self.batch}, {self.size[0]}x{self.size[1]} and {self.threads}."
            )
        patch = to_pair(MODELS[self.model].patch_size)
        if self.size[0] % patch[0] or self.size[1] % patch[1]:
            raise InputError(
                f"compared at multiples of the patch of {patch[0]}x{patch[1]} pixels; got "
                f"{self.size[0]}x{self.size[1]}."
            )
        for name, value, known in (
            ("dtype", self.dtype, get_args(Precision)),
            ("step", self.step, get_args(Pass)),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}; got {value!r}.")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return DTYPES[self.dtype]

    @property
    def label(self) -> str:
        """The setting in a line."""
        window = "" if self.window is None else f", window {self.window}"
        return (
            f"{self.model}, {self.step}, batch {self.batch}, {self.size[0]}x{self.size[1]}{window}, "
            f"{self.dtype}, {self.device}, {self.threads} thread(s)"
        )

    def build(self) -> Classifier:
        """Our classifier with seeded random weights, every one of them away from zero, on the CPU."""
        torch.manual_seed(self.seed)
        policy = "pad" if self.step == "maps" else "clamp"
        model = create_model(
            MODELS[self.model],
            img_size=self.size,
            window_size=self.window,
            drop_path_rate=0.0,
            window_policy=policy,
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        return model.eval()

    def pictures(self) -> Tensor:
        """The batch (B, 3, H, W), float32 on the CPU."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(self.batch, 3, *self.size, generator=generator)

    def labels(self) -> Tensor:
        """Classes of the batch (B,), for a training step."""
        generator = torch.Generator().manual_seed(self.seed + 2)
        return torch.randint(0, 1000, (self.batch,), generator=generator)
