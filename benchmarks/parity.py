"""Parity at full size: random weights of timm, torchvision and Hugging Face in our model.

    python benchmarks/parity.py [--models swin_tiny_patch4_window7_224] [--out FOLDER]

Each row loads the weights of the other library's randomly initialised model into ours, runs both on the same
random pictures and compares the logits and the gradient of every parameter, as the largest difference
relative to the tensor's largest value. float64 rows show that the two compute the same function; float32 rows
show rounding. The exit code is 1 when a row exceeds its limit.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn
from transformers.models.swin import SwinConfig as HuggingFaceConfig
from transformers.models.swin import SwinForImageClassification

from common import RESULTS, write_results
from swinkit.backbones import VARIANTS, SwinConfig
from swinkit.classification import build_classifier
from swinkit.cli.common import print_table
from swinkit.ops.windows import to_pair
from swinkit.weights import infer_spec, load_weights, to_swinkit

LIMITS = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-12, 1e-10)}
"""dtype -> largest error of (logits, gradients). float32 gradients pass through up to 24 blocks twice."""

RUNS = (
    ("swin_tiny_patch4_window7_224", "timm", torch.float64, 1),
    ("swin_tiny_patch4_window7_224", "timm", torch.float32, 2),
    ("swin_tiny_patch4_window7_224", "torchvision", torch.float64, 1),
    ("swin_tiny_patch4_window7_224", "torchvision", torch.float32, 2),
    ("swin_tiny_patch4_window7_224", "huggingface", torch.float32, 2),
    ("swin_base_patch4_window12_384", "timm", torch.float32, 1),
    ("swin_base_patch4_window12_384", "torchvision", torch.float32, 1),
    ("swin_base_patch4_window12_384", "huggingface", torch.float32, 1),
)
"""(variant, library, dtype, batch). Hugging Face computes its softmax in float32 whatever the dtype."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; errors are relative to the tensor's largest value."""

    model: str
    library: str
    dtype: str
    batch: int
    logits: float
    gradients: float
    worst_gradient: str
    parameters: int
    ok: bool


def main() -> int:
    """Run the comparisons, print and write them; return 1 when one exceeds its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=None, help="variants to run; all of RUNS by default")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for parity.json")
    args = parser.parse_args()
    runs = [run for run in RUNS if args.models is None or run[0] in args.models]
    rows: list[Row] = []
    for run in runs:
        print(*run, file=sys.stderr)
        rows.append(compare(*run))
    columns = ("model", "library", "dtype", "batch", "logits", "gradients", "worst gradient", "tensors", "ok")
    print_table(columns, [_cells(row) for row in rows])
    write_results("parity", [asdict(row) for row in rows], folder=args.out)
    return 0 if all(row.ok for row in rows) else 1


def compare(name: str, library: str, dtype: torch.dtype, batch: int) -> Row:
    """Run one model of both libraries forwards and backwards on the same pictures."""
    torch.manual_seed(0)
    config = VARIANTS[name]
    assert isinstance(config, SwinConfig)
    theirs = _shake(MAKERS[library](config)).to(dtype).eval()
    state = theirs.state_dict()
    spec = infer_spec(state, name)
    ours = build_classifier(spec).to(dtype).eval()
    load_weights(ours, state, spec=spec)
    image = torch.randn(batch, 3, *config.img_size, dtype=dtype)
    weight = torch.randn(batch, 1000, dtype=dtype)
    expected, logits = _logits(theirs(image)), ours(image)
    (expected * weight).mean().backward()
    (logits * weight).mean().backward()
    published = {key: value.grad for key, value in theirs.named_parameters() if value.grad is not None}
    wanted = to_swinkit(state | published, library, spec)
    errors = {
        key: _error(value.grad, wanted[key])
        for key, value in ours.named_parameters()
        if value.grad is not None
    }
    assert errors.keys() == wanted.keys()
    worst = max(errors, key=lambda key: errors[key])
    limits = LIMITS[dtype]
    logit_error = _error(logits, expected)
    return Row(
        model=name,
        library=library,
        dtype=str(dtype).removeprefix("torch."),
        batch=batch,
        logits=logit_error,
        gradients=errors[worst],
        worst_gradient=worst,
        parameters=len(errors),
        ok=logit_error <= limits[0] and errors[worst] <= limits[1],
    )


def _timm(config: SwinConfig) -> nn.Module:
    name = next(key for key, variant in VARIANTS.items() if variant == config)
    return timm.create_model(name, drop_path_rate=0.0)


def _torchvision(config: SwinConfig) -> nn.Module:
    assert isinstance(config.window_size, int)
    return torchvision.models.SwinTransformer(
        patch_size=list(to_pair(config.patch_size)),
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=list(to_pair(config.window_size)),
        stochastic_depth_prob=0.0,
    )


def _hugging_face(config: SwinConfig) -> nn.Module:
    assert isinstance(config.window_size, int)
    theirs = HuggingFaceConfig(
        image_size=config.img_size[0],
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=config.window_size,
    )
    theirs.num_labels = 1000
    return SwinForImageClassification(theirs)


MAKERS: dict[str, Callable[[SwinConfig], nn.Module]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "huggingface": _hugging_face,
}
"""Library, as `swinkit.weights` names its format -> its randomly initialised model."""


def _shake(model: nn.Module) -> nn.Module:
    """Move every parameter off its start, so that zero biases and unit norms count too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


def _logits(output: object) -> Tensor:
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    assert isinstance(logits, Tensor)
    return logits


def _error(got: Tensor, wanted: Tensor) -> float:
    return float(((got - wanted).abs().max() / wanted.abs().max()).detach())


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.model,
        row.library,
        row.dtype,
        str(row.batch),
        f"{row.logits:.1e}",
        f"{row.gradients:.1e}",
        row.worst_gradient,
        str(row.parameters),
        "yes" if row.ok else "NO",
    )


if __name__ == "__main__":
    sys.exit(main())
