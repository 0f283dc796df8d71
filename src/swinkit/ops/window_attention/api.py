"""The window attention operator: argument checks, and the choice of an implementation.

Legend: B pictures, H W rows and columns of the map, h heads, d channels a head, M M' window rows and columns.
"""

import logging
from typing import Literal, Protocol

import torch
from torch import Tensor

from swinkit.errors import InputError
from swinkit.ops.transformed import is_transformed, why_not_differentiated
from swinkit.ops.window_attention import chunked, native, reference, sdpa, triton
from swinkit.ops.windows import Pair

logger = logging.getLogger(__name__)

Implementation = Literal["auto", "reference", "sdpa", "chunked", "native", "triton"]


class _Attention(Protocol):
    """What every implementation module offers."""

    def can_run(self, qkv: Tensor) -> str | None:
        """Return why it cannot run on this input, or None when it can."""
        ...

    def attend(
        self,
        qkv: Tensor,
        bias_table: Tensor | None,
        *,
        window: Pair,
        shift: Pair,
        pad_qkv: Tensor | None,
        scale: float,
        appearance: bool,
        dropout: float,
    ) -> Tensor:
        """Compute the operator; arguments are already checked."""
        ...


IMPLEMENTATIONS: dict[str, _Attention] = {
    "triton": triton,
    "native": native,
    "chunked": chunked,
    "sdpa": sdpa,
    "reference": reference,
}
"""In the order in which "auto" tries them: the fastest first (benchmarks/window_attention.py)."""

_logged: set[str] = set()


def window_attention(
    qkv: Tensor,
    bias_table: Tensor | None,
    *,
    window: Pair,
    shift: Pair = (0, 0),
    pad_qkv: Tensor | None = None,
    scale: float | None = None,
    appearance: bool = True,
    dropout: float = 0.0,
    impl: Implementation = "auto",
) -> Tensor:
    """Attend inside shifted windows of a token map (section 3.2, equations 3 and 4).

    The map is padded at the bottom and the right to a multiple of the window, rolled by -shift and cut into
    windows; each token attends to the tokens of its window and region; then all of it is undone.

    Args:
        qkv: (B, H, W, 3, heads, d), projected queries, keys and values of a whole map.
        bias_table: ((2M-1) * (2M'-1), heads), relative position bias; None for none.
        window: (M, M') rows and columns of a window, in tokens.
        shift: (rows, columns) of the cyclic shift, each at least 0 and less than the window's side.
        pad_qkv: (3, heads, d), what a padded token's q, k and v are: the bias of the projection; None for
            zeros.
        scale: factor on q k^T; None for d ** -0.5.
        appearance: False leaves q k^T out, so that attention is the softmax of the bias alone (Table 4).
        dropout: probability of dropping an attention weight.
        impl: "auto", or a name from `IMPLEMENTATIONS`.

    Returns:
        (B, H, W, heads * d), in qkv's dtype.

    Raises:
        InputError: a shape does not fit, or the implementation is unknown or cannot run on this input.
    """
    _check(qkv, bias_table, window, shift, pad_qkv)
    if not 0 <= dropout <= 1:
        raise InputError(f"dropout is a probability, 0 to 1; got {dropout}.")
    chosen = IMPLEMENTATIONS[_choose(impl, qkv, window)]
    return chosen.attend(
        qkv,
        bias_table,
        window=window,
        shift=shift,
        pad_qkv=pad_qkv,
        scale=qkv.shape[-1] ** -0.5 if scale is None else scale,
        appearance=appearance,
        dropout=dropout,
    )


def can_run(impl: str, qkv: Tensor) -> str | None:
    """Return why implementation `impl` cannot run on `qkv`, or None when it can."""
    if impl not in IMPLEMENTATIONS:
        raise InputError(
            f"unknown attention implementation {impl!r}: choose auto, {', '.join(IMPLEMENTATIONS)}."
        )
    return IMPLEMENTATIONS[impl].can_run(qkv)


def _choose(impl: str, qkv: Tensor, window: Pair) -> str:
    if impl != "auto":
        reason = can_run(impl, qkv)
        if reason is not None:
            raise InputError(f'attention implementation "{impl}" cannot run here: {reason}.')
        return impl
    if not qkv.is_floating_point():
        raise InputError(f"attention needs a floating dtype, got {qkv.dtype}: convert qkv.")
    name = next(name for name in _by_speed(qkv, window) if can_run(name, qkv) is None)
    if not torch.compiler.is_compiling() and name not in _logged:
        _logged.add(name)
        logger.info('window attention: "auto" chose "%s" on %s', name, qkv.device.type)
    return name


def _by_speed(qkv: Tensor, window: Pair) -> list[str]:
    """Names in the order "auto" tries them."""
    if why_not_differentiated() is not None:
        return ["reference"]  # not sdpa either: torch's kernel has no forward mode
    if qkv.device.type != "cpu":
        return list(IMPLEMENTATIONS)
    names = [name for name in IMPLEMENTATIONS if name != "triton"]  # which could only be interpreted
    one_window = qkv.shape[1] <= window[0] and qkv.shape[2] <= window[1]
    trains = torch.is_grad_enabled() and qkv.requires_grad
    if one_window and not trains and (torch.compiler.is_compiling() or not is_transformed()):
        # Nothing to cut or to roll: torch's kernel is ahead of chunks, forward. torch.func does not take it.
        names.sort(key=("native", "sdpa", "chunked", "reference").index)
    return names


def _check(qkv: Tensor, bias_table: Tensor | None, window: Pair, shift: Pair, pad_qkv: Tensor | None) -> None:
    if not isinstance(qkv, Tensor):
        raise InputError(f"qkv must be a tensor (B, H, W, 3, heads, d); got {type(qkv).__name__}.")
    if qkv.dim() != 6 or qkv.shape[3] != 3:
        raise InputError(f"qkv must be (B, H, W, 3, heads, d); got {tuple(qkv.shape)}.")
    if isinstance(window, int) or isinstance(shift, int) or len(window) != 2 or len(shift) != 2:
        raise InputError(f"window and shift must be (rows, columns); got {window} and {shift}.")
    if min(window) < 1 or any(not 0 <= offset < side for offset, side in zip(shift, window, strict=True)):
        raise InputError(f"the shift must be at least 0 and less than the window; got {shift} for {window}.")
    heads, channels = qkv.shape[4], qkv.shape[5]
    table_shape = ((2 * window[0] - 1) * (2 * window[1] - 1), heads)
    if bias_table is not None and tuple(bias_table.shape) != table_shape:
        got = tuple(bias_table.shape)
        raise InputError(f"bias_table of window {window} and {heads} heads must be {table_shape}; got {got}.")
    if pad_qkv is not None and tuple(pad_qkv.shape) != (3, heads, channels):
        raise InputError(f"pad_qkv must be (3, {heads}, {channels}); got {tuple(pad_qkv.shape)}.")
    for name, operand in (("bias_table", bias_table), ("pad_qkv", pad_qkv)):
        if operand is not None and operand.device != qkv.device:
            raise InputError(f"{name} must be on {qkv.device}, where qkv is; got {operand.device}: move it.")
