"""`swinkit.optimize`: the fastest inference form of a model on the present machine, found by measuring."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from swinkit.classification import Classifier
from swinkit.deploy import memory
from swinkit.deploy.engines import ENGINES, FLOAT8, Outputs, Run, can_run, has_bfloat16
from swinkit.deploy.measure import in_turns, output_list, relative_error
from swinkit.deploy.report import Candidate, Report, short
from swinkit.deploy.twin import twin
from swinkit.errors import InputError, one_line

ROUNDS = 5
"""Times each candidate runs, in turns, after it has run once for the check and once to warm up."""

FLOAT32_ERROR = 1e-3
"""More than this, relative to the largest output, means a defect in a float32 engine."""

MAX_SIZES = 4
"""Forms for so many picture shapes are kept; the one not used for longest goes."""


class Optimized(nn.Module):
    """A classifier or backbone in its fastest form; made by `optimize`.

    Pictures of another shape than the example get a form of their own, by the same engine, when they first
    come; a batch of none goes to the model itself. It keeps no parameters of its own and only infers. After
    changes of the model optimise again: what is built already need not follow them. Threads may share it;
    a copy, or one that was pickled, builds its forms when pictures first come.

    Attributes:
        engine: what runs it.
        dtype: what it computes in; pictures and outputs keep the caller's.
        report: what was tried, with times and errors.
        source: the model it was made from.
    """

    def __init__(self, source: nn.Module, report: Report, dtype: torch.dtype, forms: dict[Any, Run]) -> None:
        super().__init__()
        self.engine = report.engine
        self.dtype = dtype
        self.report = report
        self._source = (source,)  # in a tuple, so that its parameters are not this module's
        self._forms: OrderedDict[Any, Run] = OrderedDict(forms)
        self._lock = threading.Lock()
        for name in ("spec", "config", "channels", "strides", "out_indices"):
            if hasattr(source, name):
                vars(self)[name] = getattr(source, name)
        self.eval()

    @property
    def source(self) -> nn.Module:
        """The model it was made from."""
        return self._source[0]

    @property
    def device(self) -> torch.device:
        """Where pictures have to be."""
        return next(self.source.parameters()).device

    def forward(self, images_BCHW: Tensor) -> Outputs:
        """Map pictures (B, in_chans, H, W) to what the model gives, without gradients."""
        check_images(self.source, images_BCHW)
        return self._form(self.engine if len(images_BCHW) else "plain", images_BCHW)(images_BCHW)

    def _form(self, engine: str, images_BCHW: Tensor) -> Run:
        """The form for such pictures, built when they first come; the one not used for longest may go."""
        key = form_key(engine, images_BCHW)
        with self._lock:
            if key not in self._forms:
                reason = can_run(engine, self.source, images_BCHW.device, self.dtype)
                if reason is not None:
                    raise InputError(
                        f"this model was optimised for engine {engine!r}, which cannot run here: {reason}; "
                        "optimise the model it was made from again."
                    )
                self._forms[key] = ENGINES[engine].build(self.source, images_BCHW, self.dtype)
                if len(self._forms) > MAX_SIZES:
                    self._forms.popitem(last=False)
            self._forms.move_to_end(key)
            return self._forms[key]

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode.

        Raises:
            InputError: training was asked for.
        """
        if mode:
            raise InputError("an optimised model only infers: train the model it was made from.")
        return super().train(False)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Stay on the device; `to`, `cuda` and the like come here.

        Raises:
            InputError: another device was asked for.
        """
        device = fn(torch.empty(0, device=self.device)).device
        if device != self.device:
            raise InputError(
                f"this model was optimised for {self.device} and stays there: move the model it was made "
                f"from to {device} and optimise that."
            )
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Without forms, which belong to this process."""
        return {**vars(self), "_forms": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lock = threading.Lock()

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"engine={self.engine!r}, dtype={self.dtype}"


def optimize(
    model: nn.Module,
    example: Tensor,
    *,
    engines: Sequence[str] | None = None,
    dtype: torch.dtype | None = None,
    max_error: float = 0.03,
    float8: bool = False,
    remember: bool = True,
) -> Any:
    """Find the fastest way to run `model` on pictures like `example`, here and now.

    Every engine runs the example, is compared with the model in float32, and is then timed in turns with the
    others. The choice is kept per machine, model and shape, so that the next call only builds.

    Args:
        model: a classifier or a backbone; or a segmenter or detector, whose backbone is then optimised.
        example: pictures (B, in_chans, H, W) of the size and batch that will come, on the model's device.
        engines: names from `swinkit.deploy.engines.ENGINES`; None for all that can run here and build in
            seconds.
        dtype: torch.float32 or torch.bfloat16 (on a GPU also float16); None for float32, and for a shorter
            type where the chip computes in it. Without `engines`, bfloat16 on a processor that only emulates
            it is computed in float32, which is faster and closer; the report says so.
        max_error: largest difference from the model in float32, relative to its largest output.
        float8: try engines with linear layers in float8, too (see `swinkit.deploy.to_float8`), on a GPU that
            has it. They differ by more than `max_error` allows as it stands: say what is good enough.
        remember: use and keep the choice.

    Returns:
        An `Optimized` classifier or backbone; for a segmenter or detector the same kind of model around an
        optimised `backbone`. The model itself stays as it is.

    Raises:
        InputError: an engine that does not exist or cannot run here, a wrong example, or nothing within
            `max_error`.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"optimize takes a model, as swinkit.load returns; got {type(model).__name__}.")
    if not isinstance(example, Tensor) or example.dim() != 4 or 0 in example.shape:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise InputError(f"the example must be pictures (B, in_chans, H, W), at least one; got {shape}.")
    if engines is not None and (isinstance(engines, str) or not engines):
        raise InputError(f"engines takes a list of names, or None; got {engines!r}.")
    if not isinstance(max_error, float | int) or not max_error >= 0:
        raise InputError(f"max_error is a share of the largest output, such as 0.03; got {max_error!r}.")
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module) and not isinstance(model, Classifier):
        return _around(
            model,
            optimize(
                backbone,
                example,
                engines=engines,
                dtype=dtype,
                max_error=max_error,
                float8=float8,
                remember=remember,
            ),
        )
    if isinstance(model, Optimized):
        raise InputError("this model is optimised already: give the one it was made from.")
    check_images(model, example)
    wanted = _wanted(model, example, engines, dtype, float8)
    expected = output_list(ENGINES["plain"].build(model, example, torch.float32)(example.float()))
    able = [f"{name} {kind} {can_run(name, model, example.device, kind) is None}" for name, kind in wanted]
    key = memory.key(model, example, able, max_error)
    known = memory.recall(key) if remember else None
    tried: list[_Trial] = []
    if known is not None:
        chosen = [(name, kind) for name, kind in wanted if (name, str(kind)) == (known.engine, known.dtype)]
        tried = _try(chosen, model, example, expected, max_error)
    if not any(trial.seconds for trial in tried):  # nothing is remembered, or it does not hold any more
        known, tried = None, _try(wanted, model, example, expected, max_error)
    good = [trial for trial in tried if trial.seconds]
    if not good:
        reasons = "; ".join(f"{trial.engine} in {short(trial.dtype)}: {trial.reason}" for trial in tried)
        raise InputError(f"no engine ran within max_error {max_error}: {reasons}.")
    best = min(good, key=lambda trial: min(trial.seconds))
    report = Report.of(best.candidate(), [trial.candidate() for trial in tried], example, known)
    if remember and known is None:
        memory.keep(key, report)
    assert best.run is not None
    return Optimized(model, report, best.dtype, {form_key(best.engine, example): best.run})


@dataclass
class _Trial:
    """One candidate on its way."""

    engine: str
    dtype: torch.dtype
    run: Run | None = None
    error: float | None = None
    reason: str = ""
    seconds: tuple[float, ...] = ()

    def attempt(self, model: nn.Module, example: Tensor, expected: list[Tensor], max_error: float) -> Self:
        """Build the candidate and compare what it gives; return itself, with `run` if it is good."""
        self.reason = can_run(self.engine, model, example.device, self.dtype) or ""
        if self.reason:
            return self
        try:
            run = ENGINES[self.engine].build(model, example, self.dtype)
            self.error = relative_error(output_list(run(example)), expected)
        except Exception as error:  # an engine of others may fail in any way; the report has to say so
            self.reason = f"{type(error).__name__}: {one_line(error, 200)}"
            return self
        exact = self.dtype == torch.float32 and example.dtype == torch.float32  # outputs are rounded alike
        limit = min(max_error, FLOAT32_ERROR) if exact else max_error
        if self.error <= limit:
            self.run = run
        else:
            self.reason = f"error {self.error:.1e} is above {limit:.1e}"
        return self

    def candidate(self) -> Candidate:
        """What the report says of it."""
        return Candidate(
            engine=self.engine,
            dtype=str(self.dtype),
            milliseconds=1e3 * min(self.seconds) if self.seconds else None,
            error=self.error,
            reason=self.reason,
        )


def form_key(engine: str, images_BCHW: Tensor) -> tuple[str | int, ...]:
    """What a form is made for: the engine, and the size and batch where the engine needs them."""
    shape = tuple(images_BCHW.shape)
    if ENGINES[engine].any_size:
        return (engine,)
    return (engine, *(shape[2:] if ENGINES[engine].any_batch else shape))


def check_images(model: nn.Module, images_BCHW: Tensor) -> None:
    """Raise InputError unless these are pictures (B, in_chans, H, W) on the model's device."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise InputError(f"a {type(model).__name__} has no convolution that reads pictures: give a backbone.")
    if not isinstance(images_BCHW, Tensor):
        raise InputError(f"expected a tensor of pictures; got {type(images_BCHW).__name__}.")
    if images_BCHW.dim() != 4 or images_BCHW.shape[1] != first.in_channels or 0 in images_BCHW.shape[2:]:
        shape = tuple(images_BCHW.shape)
        raise InputError(f"expected pictures (B, {first.in_channels}, H, W); got shape {shape}.")
    device = first.weight.device
    if images_BCHW.device != device or not images_BCHW.is_floating_point():
        raise InputError(
            f"expected floating point pictures on {device}, where the model is; got {images_BCHW.dtype} on "
            f"{images_BCHW.device}."
        )


def _wanted(
    model: nn.Module,
    example: Tensor,
    engines: Sequence[str] | None,
    dtype: torch.dtype | None,
    float8: bool,
) -> list[tuple[str, torch.dtype]]:
    """Engine and dtype of every candidate; those asked for by name must be able to run."""
    device = example.device
    allowed = [torch.float32, torch.bfloat16] + ([torch.float16] if device.type != "cpu" else [])
    if dtype is not None and dtype not in allowed:
        names = ", ".join(str(item) for item in allowed)
        raise InputError(f"dtype on {device.type} must be one of {names}, or None; got {dtype}.")
    if dtype == torch.bfloat16 and engines is None and device.type == "cpu" and not has_bfloat16():
        dtypes = [torch.float32]
    elif dtype is not None:
        dtypes = [dtype]
    else:
        dtypes = allowed if device.type != "cpu" or has_bfloat16() else [torch.float32]
    quick = [name for name, engine in ENGINES.items() if engine.quick and device.type in engine.devices]
    asked = list(engines or ())
    names = quick if engines is None else asked
    if float8:
        why = [can_run(name, model, device, item) for name in FLOAT8 for item in dtypes]
        if None not in why:
            advice = "leave it out, or see with swinkit.deploy.to_float8 how far off it would be"
            raise InputError(f"float8 cannot run here: {why[0]}; {advice}.")
        names = list(dict.fromkeys([*names, *FLOAT8]))
    found = []
    for name in names:
        reasons = [can_run(name, model, device, item) for item in dtypes]
        if name in asked and None not in reasons:
            raise InputError(f"engine {name!r} cannot run here: {reasons[0]}.")
        for item, reason in zip(dtypes, reasons, strict=True):
            # What cannot run stays in the list, once, so that the report names it.
            if reason is None or (None not in reasons and item == dtypes[0]):
                found.append((name, item))
    return found


def _try(
    wanted: Sequence[tuple[str, torch.dtype]],
    model: nn.Module,
    example: Tensor,
    expected: list[Tensor],
    max_error: float,
) -> list[_Trial]:
    """Build, compare and time candidates; those that may be chosen have `seconds`."""
    tried = [_Trial(name, kind).attempt(model, example, expected, max_error) for name, kind in wanted]
    able = [(trial, trial.run) for trial in tried if trial.run is not None]
    seconds = in_turns([run for _, run in able], example, ROUNDS)
    for (trial, _), own in zip(able, seconds, strict=True):
        trial.seconds = tuple(own)
    return tried


def _around(model: nn.Module, backbone: Optimized) -> nn.Module:
    """The same task model with another backbone, and its other weights."""
    fast = twin(model)
    vars(fast)["_modules"]["backbone"] = backbone
    return fast
