"""What a right answer is, and how far a candidate may be from it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from swinkit.backbones.config import stage_windows
from swinkit.backbones.pyramid import map_sizes
from swinkit.bench import libraries
from swinkit.bench.engines import FLOAT8_LIMIT, Output
from swinkit.bench.outcome import Disagreement
from swinkit.bench.workload import MODELS, Workload
from swinkit.classification import Classifier
from swinkit.deploy.measure import output_list, relative_error, worst
from swinkit.ops.windows import Pair, padded_size, to_pair
from swinkit.weights import to_swinkit

LIMITS = {"float32": 1e-4, "bfloat16": 8e-2, "float16": 2e-2}
"""Largest error of an output in the given precision, against float32, relative to the largest output."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model gives in float32, eager: outputs, or of a training step the loss and the gradients."""

    outputs: list[Tensor] = field(default_factory=list)
    loss: float = 0.0
    gradients: dict[str, Tensor] = field(default_factory=dict)


class Check:
    """Right answers are our model's, in float32, eager, on the workload's device.

    There is one exception. timm rolls a map before it pads it, where the published code pads first, so where
    a shifted map is not a multiple of the window it computes something else with the same work. There timm's
    model is compared with ours at the next size that needs no padding, its engines with its own float32.

    Args:
        workload: the setting.
        ours: the weights.
    """

    def __init__(self, workload: Workload, ours: Classifier) -> None:
        self.workload = workload
        self.ours = ours
        self.answers: dict[str, Answer] = {}

    def output(self, name: str, output: Output) -> float:
        """Largest relative error of logits or maps.

        Raises:
            Disagreement: it is above `LIMITS`, or for float8 above `FLOAT8_LIMIT`.
        """
        found, wanted = output_list(output), self._answer(name).outputs
        if [x.shape for x in found] != [x.shape for x in wanted]:
            shapes = [tuple(x.shape) for x in found]
            raise Disagreement(f"{name} gives shapes {shapes} on {self.workload.label}: nothing was timed.")
        return self._judge(name, relative_error(found, wanted), "its output")

    def training(self, name: str, model: nn.Module, step: Callable[[], Tensor]) -> float:
        """Largest relative error of the loss and the gradients, as norms of differences over norms.

        In float32 of each parameter's gradient; in half precisions, where the small gradients are mostly
        rounding, of all of them as one vector.

        Raises:
            Disagreement: it is above `LIMITS`, or parameters are missing.
        """
        answer = self._answer(name)
        loss = float(step())
        found = self._gradients(name, model)
        if found.keys() != answer.gradients.keys():
            raise Disagreement(f"{name} trains other parameters than ours: nothing was timed.")
        errors = [abs(loss - answer.loss) / max(abs(answer.loss), 1e-12)]
        if self.workload.dtype == "float32":
            errors += [_distance([found[key]], [wanted]) for key, wanted in answer.gradients.items()]
        else:
            errors.append(_distance([found[key] for key in answer.gradients], [*answer.gradients.values()]))
        return self._judge(name, worst(errors), "its loss or a gradient")

    def note(self, name: str) -> str:
        """What a reader has to know of how a candidate was compared, or ""."""
        if not self._apart(name):
            return ""
        height, width = unpadded_size(self.workload)
        return f"rolls before it pads: compared with ours at {height}x{width}"

    def _apart(self, name: str) -> bool:
        return name.startswith("timm/") and needs_padding(self.workload)

    def _answer(self, name: str) -> Answer:
        library = "timm" if self._apart(name) else "swinkit"
        if library not in self.answers:
            if library == "timm":
                self._compare_unpadded()
            self.answers[library] = self._run(library)
        return self.answers[library]

    def _run(self, library: str) -> Answer:
        device = torch.device(self.workload.device)
        images = self.workload.pictures().to(device)
        model = libraries.build(library, self.workload, self.ours).to(device)
        if self.workload.step == "training":
            model.train()
            loss = nn.functional.cross_entropy(model(images), self.workload.labels().to(device))
            loss.backward()
            return Answer(loss=float(loss.detach()), gradients=self._gradients(f"{library}/eager", model))
        with torch.inference_mode():
            return Answer(outputs=[x.float().cpu() for x in output_list(model(images))])

    def _compare_unpadded(self) -> None:
        """timm's model against ours where both compute the same."""
        step = "maps" if self.workload.step == "maps" else "inference"
        size = unpadded_size(self.workload)
        workload = dataclasses.replace(self.workload, batch=1, size=size, dtype="float32", step=step)
        model = libraries.build("timm", workload, workload.build()).to(workload.device)
        with torch.inference_mode():
            found = model(workload.pictures().to(workload.device))
        Check(workload, workload.build()).output("timm/eager", found)

    def _gradients(self, name: str, model: nn.Module) -> dict[str, Tensor]:
        """A model's gradients by our names."""
        library = name.partition("/")[0]
        found = {key: value.float() for key, value in libraries.named_gradients(library, model).items()}
        return found if library == "swinkit" else to_swinkit(found, library, self.ours.spec)

    def _judge(self, name: str, error: float, what: str) -> float:
        limit = FLOAT8_LIMIT if name.endswith("/float8") else LIMITS[self.workload.dtype]
        if error > limit:
            raise Disagreement(
                f"{what} differs, {name}: relative error {error:.1e}, allowed {limit:.0e}, on "
                f"{self.workload.label}; nothing was timed."
            )
        return error


def needs_padding(workload: Workload) -> bool:
    """Whether some stage's map is larger than its window and not a multiple of it."""
    config = MODELS[workload.model]
    maps = map_sizes(workload.size, to_pair(config.patch_size), len(config.depths))
    windows = stage_windows(workload.window or config.window_size, len(config.depths))
    return any(
        length > window and length % window
        for size, sides in zip(maps, windows, strict=True)
        for length, window in zip(size, sides, strict=True)
    )


def unpadded_size(workload: Workload) -> Pair:
    """The next (height, width) whose maps are multiples of the window in every stage."""
    config = MODELS[workload.model]
    (window, *_) = stage_windows(workload.window or config.window_size, len(config.depths))
    patch, halvings = to_pair(config.patch_size), 2 ** (len(config.depths) - 1)
    step = (patch[0] * halvings * window[0], patch[1] * halvings * window[1])
    return padded_size(workload.size, step)


def _distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of what was wanted, all tensors as one vector."""
    difference = sum(float((x - y).double().square().sum()) for x, y in zip(found, wanted, strict=True))
    return math.sqrt(difference / max(sum(float(y.double().square().sum()) for y in wanted), 1e-24))
