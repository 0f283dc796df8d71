"""The bars this library sets itself, a line each: what, against what, how much, and what was measured."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from swinkit.bench import attention, rows
from swinkit.bench.outcome import Disagreement, Unavailable
from swinkit.bench.report import spread_data
from swinkit.bench.rows import Outcome, Setting
from swinkit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row.

    Attributes:
        what: is measured.
        against: peers, in words.
        bar: the least ratio, or the most where `most` is set.
        aim: what we would like, or None.
        needs: the device.
        measure: measures it on that device.
        most: the bar is an upper bound.
    """

    what: str
    against: str
    bar: float
    needs: Literal["cpu", "cuda"]
    measure: Callable[[Setting, str], Outcome]
    aim: float | None = None
    most: bool = False

    def bar_text(self) -> str:
        """The bar as the table shows it."""
        aim = "" if self.aim is None else f" (aim {self.aim:g})"
        return f"{'at most ' if self.most else ''}{self.bar:g}{aim}"

    def verdict(self, outcome: Outcome) -> str:
        """ "met" or "missed", by the worst of the parts; "" when nothing was measured."""
        if not outcome.parts:
            return ""
        medians = [part.value.median for part in outcome.parts]
        reached = max(medians) <= self.bar if self.most else min(medians) >= self.bar
        return "met" if reached and all(part.kept for part in outcome.parts) else "missed"


def run(name: str, setting: Setting) -> Outcome:
    """Measure a row, or say why not."""
    row = BARS[name]
    if row.needs == "cuda" and not torch.cuda.is_available():
        return Outcome(name=name, reason="not measured: needs a GPU")
    try:
        found = row.measure(setting, row.needs)
    except Unavailable as reason:
        return Outcome(name=name, reason=f"not measured: {reason}")
    except Disagreement as reason:
        return Outcome(name=name, reason=f"refused: {reason}", refused=True)
    return Outcome(name=name, parts=found.parts, reason=found.reason, data=found.data)


def profiles(name: str, outcome: Outcome) -> str:
    """Where the time goes in the parts of a row that miss its bar; "" when none does."""
    row = BARS[name]
    missed = [
        part
        for part in outcome.parts
        if row.verdict(dataclasses.replace(outcome, parts=[part])) == "missed" and part.profile is not None
    ]
    return "\n".join(part.profile() for part in missed if part.profile is not None)


def outcome_data(name: str, outcome: Outcome) -> dict[str, Any]:
    """A row as JSON types."""
    return {
        "row": name,
        "bar": BARS[name].bar,
        "verdict": BARS[name].verdict(outcome) or "not measured",
        "parts": [
            {
                "label": part.label,
                "ratio": spread_data(part.value),
                "ours": part.ours,
                "against": part.against,
                "note": part.note,
            }
            for part in outcome.parts
        ],
        "reason": outcome.reason,
        "data": outcome.data,
    }


def choose(names: Sequence[str]) -> list[str]:
    """The rows asked for, all without a name.

    Raises:
        InputError: there is no such row.
    """
    for name in names:
        if name not in BARS:
            raise InputError(f"there is no row {name!r}: choose from {', '.join(BARS)}.")
    return [name for name in BARS if not names or name in names]


_SDPA = "roll + partition + scaled_dot_product_attention"

BARS: dict[str, Bar] = {
    "gpu-attention-eager": Bar(
        what="window attention forward + backward, bf16, stages 1-2 of T, batch 128",
        against=f"{_SDPA}, eager",
        bar=3,
        needs="cuda",
        measure=rows.attention_alone((attention.EAGER,), ("bfloat16",), (1, 2), 128, backward=True),
    ),
    "gpu-attention-compiled": Bar(
        what="the same",
        against="the same, torch.compile",
        bar=1.7,
        needs="cuda",
        measure=rows.attention_alone((attention.COMPILED,), ("bfloat16",), (1, 2), 128, backward=True),
    ),
    "gpu-inference-tiny": Bar(
        what="Swin-T inference at 224, bf16, batch 128",
        against="timm, torch.compile, its best mode",
        bar=1.5,
        aim=2.5,
        needs="cuda",
        measure=rows.inference(rows.TINY, rows.COMPILED, "bfloat16", (128,)),
    ),
    "gpu-inference-base": Bar(
        what="Swin-B inference at 224, bf16, batch 128",
        against="timm, torch.compile, its best mode",
        bar=1.5,
        aim=2.5,
        needs="cuda",
        measure=rows.inference(rows.BASE, rows.COMPILED, "bfloat16", (128,)),
    ),
    "gpu-training": Bar(
        what="Swin-T training step at 224, bf16, batch 128, no more memory",
        against="timm, torch.compile",
        bar=1.3,
        aim=2,
        needs="cuda",
        measure=rows.training(("bfloat16",), 128),
    ),
    "gpu-backbone": Bar(
        what="Swin-B backbone at 800x1216, inference",
        against="torchvision and timm, eager",
        bar=2,
        needs="cuda",
        measure=rows.inference(
            rows.BASE,
            ("timm/eager", "torchvision/eager"),
            "bfloat16",
            (1,),
            ours=("swinkit/compile", "swinkit/eager"),
            size=(800, 1216),
            step="maps",
        ),
    ),
    "cpu-inference-bf16": Bar(
        what="Swin-T inference, CPU, bf16, batch 1 and 8",
        against="the fastest of timm eager, compiled (frozen, max-autotune), OpenVINO",
        bar=1.15,
        aim=1.5,
        needs="cpu",
        measure=rows.inference(rows.TINY, rows.ON_A_CPU, "bfloat16", (1, 8)),
    ),
    "cpu-inference-fp32": Bar(
        what="Swin-T inference, CPU, fp32, batch 1 and 8",
        against="the fastest of timm eager, compiled, onnxruntime, OpenVINO",
        bar=1.05,
        aim=1.15,
        needs="cpu",
        measure=rows.inference(rows.TINY, (*rows.ON_A_CPU, "timm/onnxruntime"), "float32", (1, 8)),
    ),
    "cpu-training": Bar(
        what="Swin-T training step, CPU, fp32 and bf16, batch 8, no more memory",
        against="the faster of timm eager and compiled",
        bar=1.1,
        needs="cpu",
        measure=rows.training(("float32", "bfloat16"), 8),
    ),
    "cpu-attention": Bar(
        what="window attention alone, CPU, forward, stages 1-4 of T, bf16 and fp32, batch 8",
        against=f"{_SDPA}, the faster of eager and compiled",
        bar=1.5,
        needs="cpu",
        measure=rows.attention_alone(
            (attention.EAGER, attention.COMPILED),
            ("bfloat16", "float32"),
            (1, 2, 3, 4),
            8,
            backward=False,
        ),
    ),
    "cpu-memory": Bar(
        what="peak memory of Swin-B at 1024x1024, inference, CPU, fp32",
        against="timm eager",
        bar=0.6,
        needs="cpu",
        measure=rows.peak,
        most=True,
    ),
    "cost-exponent": Bar(
        what="cost exponent in image area, 224 to 2048, Swin-T",
        against="1 is linear",
        bar=1.05,
        needs="cpu",
        measure=rows.growth,
        most=True,
    ),
}
"""Row -> what it asks, in the order of the table. GPU rows are for an H100; the result names the device."""
