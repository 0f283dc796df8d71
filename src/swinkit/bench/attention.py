"""Window attention alone, stage by stage: ours, roll + partition + SDPA, flex_attention."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swinkit.backbones.config import stage_windows
from swinkit.backbones.pyramid import stage_maps
from swinkit.bench.attention_peers import RollPartition, Site, flex
from swinkit.bench.check import LIMITS
from swinkit.bench.outcome import Disagreement, Unavailable
from swinkit.bench.profile import operators
from swinkit.bench.timing import Spread, fastest, interleave, speedup
from swinkit.bench.workload import DTYPES, MODELS
from swinkit.deploy.measure import relative_error
from swinkit.ops.window_attention import IMPLEMENTATIONS, can_run, window_attention
from swinkit.ops.windows import fit_shift, fit_window

Function = Callable[[Tensor, Tensor], Tensor]

EAGER, COMPILED, FLEX = "roll+partition+sdpa eager", "roll+partition+sdpa compiled", "flex_attention"
OURS = ("swinkit auto", "swinkit auto compiled")
PEERS = (EAGER, COMPILED, FLEX)


@dataclass(frozen=True, kw_only=True)
class SiteResult:
    """One stage, one precision, one pass.

    Attributes:
        site: the stage.
        batch: pictures.
        dtype: precision.
        backward: whether the pass is forward and backward.
        seconds: candidate -> seconds a call of each round; ours begin with "swinkit".
        errors: candidate -> relative error against float32.
        missing: candidate -> why it did not run.
    """

    site: Site
    batch: int
    dtype: str
    backward: bool
    seconds: dict[str, list[float]]
    errors: dict[str, float]
    missing: dict[str, str]

    @property
    def ours(self) -> str:
        """What a user gets: the faster of "auto", eager and compiled; the others are there to be seen."""
        found = fastest(self.seconds, OURS)
        assert found is not None
        return found

    def against(self, peers: Sequence[str]) -> tuple[str, Spread] | None:
        """The fastest of the peers that ran and how many times faster we are; None if none ran."""
        peer = fastest(self.seconds, peers)
        return None if peer is None else (peer, speedup(self.seconds[peer], self.seconds[self.ours]))


def sites(model: str, head_dim: int | None = None) -> list[Site]:
    """The shifted block of every stage of a model at its own size."""
    config = MODELS[model]
    maps = stage_maps(config)
    windows = stage_windows(config.window_size, len(maps))
    found = []
    for stage, (size, window) in enumerate(zip(maps, windows, strict=True)):
        fitted = fit_window(size, window, config.window_policy)
        found.append(
            Site(
                stage=stage + 1,
                map_size=size,
                heads=config.num_heads[stage],
                head_dim=head_dim or config.embed_dim * 2**stage // config.num_heads[stage],
                window=fitted,
                shift=fit_shift(size, fitted, config.window_policy),
            )
        )
    return found


def measure(
    site: Site,
    *,
    batch: int,
    dtype: str,
    device: torch.device,
    backward: bool,
    rounds: int,
    peers: Sequence[str] = PEERS,
    compiled: bool = True,
) -> SiteResult:
    """Check and time every implementation of ours and the peers on one stage.

    Args:
        site: where.
        batch: pictures.
        dtype: a key of `DTYPES`.
        device: CPU or GPU.
        backward: forward and backward instead of forward alone.
        rounds: turns that count.
        peers: some of `PEERS`.
        compiled: our operator under torch.compile too.

    Raises:
        Disagreement: values (or gradients) differ.
    """
    torch._dynamo.reset()
    qkv, table = _inputs(site, batch, device)
    wanted = _values(_ours(site, "reference"), qkv, table, backward)
    qkv = qkv.to(DTYPES[dtype])
    missing: dict[str, str] = {}
    calls: dict[str, Callable[[], Any]] = {}
    errors: dict[str, float] = {}
    for name, make in _candidates(site, device, backward, compiled).items():
        if not name.startswith("swinkit") and name not in peers:
            continue
        try:
            function = make()
            found = _run(function, qkv, table, backward)
        except Unavailable as reason:
            missing[name] = str(reason)
            continue
        errors[name] = relative_error(found, wanted)
        if errors[name] > LIMITS[dtype]:
            raise Disagreement(
                f"{name} differs from the reference at stage {site.stage} in {dtype}: relative error "
                f"{errors[name]:.1e}, allowed {LIMITS[dtype]:.0e}; nothing was timed."
            )
        calls[name] = _call(function, qkv, table, backward)
    return SiteResult(
        site=site,
        batch=batch,
        dtype=dtype,
        backward=backward,
        seconds=interleave(calls, rounds=rounds, device=device),
        errors=errors,
        missing=missing,
    )


def profiled(
    names: Sequence[str], site: Site, *, batch: int, dtype: str, device: torch.device, backward: bool
) -> str:
    """Where the time of candidates goes on one stage, one table under the other."""
    qkv, table = _inputs(site, batch, device)
    made = _candidates(site, device, backward, True)
    texts = []
    for name in names:
        call = _call(made[name](), qkv.to(DTYPES[dtype]), table, backward)
        texts.append(f"{name}, stage {site.stage}, batch {batch}, {dtype}\n{operators(call, device)}")
    return "\n".join(texts)


def _inputs(site: Site, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random q, k, v (B, H, W, 3, heads, d) and bias table of a stage, in float32."""
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(batch, *site.map_size, 3, site.heads, site.head_dim, generator=generator)
    rows = (2 * site.window[0] - 1) * (2 * site.window[1] - 1)
    return qkv.to(device), torch.randn(rows, site.heads, generator=generator).to(device)


def _candidates(
    site: Site, device: torch.device, backward: bool, compiled: bool
) -> dict[str, Callable[[], Function]]:
    """Name -> maker. The maker raises Unavailable where the candidate cannot run."""
    ours: dict[str, Callable[[], Function]] = {
        f"swinkit {name}": lambda name=name: _ours(site, name) for name in ("auto", *IMPLEMENTATIONS)
    }
    if compiled:
        ours["swinkit auto compiled"] = lambda: torch.compile(_ours(site, "auto"), dynamic=False)
    return {
        **ours,
        EAGER: lambda: RollPartition(site).to(device),
        COMPILED: lambda: torch.compile(RollPartition(site).to(device), dynamic=False),
        FLEX: lambda: flex(site, device, backward),
    }


def _ours(site: Site, impl: Any) -> Function:
    def attend(qkv: Tensor, table: Tensor) -> Tensor:
        return window_attention(qkv, table, window=site.window, shift=site.shift, impl=impl)

    def checked(qkv: Tensor, table: Tensor) -> Tensor:
        reason = can_run(impl, qkv)
        if reason is not None:
            raise Unavailable(reason)
        return attend(qkv, table)

    return attend if impl == "auto" else checked


def _run(function: Function, qkv: Tensor, table: Tensor, backward: bool) -> list[Tensor]:
    """`_values` of a candidate that may fail in any way."""
    try:
        return _values(function, qkv, table, backward)
    except (Unavailable, Disagreement):
        raise
    except Exception as error:  # code of others; the reader has to know why it is left out
        raise Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error


def _values(function: Function, qkv: Tensor, table: Tensor, backward: bool) -> list[Tensor]:
    """The output; with `backward`, and the gradients of q, k, v and of the bias table."""
    if not backward:
        with torch.no_grad():
            return [function(qkv, table)]
    qkv, table = qkv.detach().requires_grad_(), table.detach().requires_grad_()
    out = function(qkv, table)
    out.backward(_upstream(out))
    assert qkv.grad is not None
    assert table.grad is not None
    return [out.detach(), qkv.grad, table.grad]


def _call(function: Function, qkv: Tensor, table: Tensor, backward: bool) -> Callable[[], Any]:
    if not backward:

        def forward() -> Tensor:
            with torch.no_grad():
                return function(qkv, table)

        return forward
    qkv, table = qkv.detach().requires_grad_(), table.detach().requires_grad_()
    upstream = _upstream(function(qkv, table))

    def both() -> None:
        qkv.grad = table.grad = None
        function(qkv, table).backward(upstream)

    return both


def _upstream(out: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(out.shape, generator=generator).to(out.device, out.dtype)
