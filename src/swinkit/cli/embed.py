"""`swinkit embed`: turn pictures into vectors, for search, clustering or another model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from swinkit.cli.common import CommonArgs, parse, pick_device, seed_everything, stderr
from swinkit.cli.predict import collect, report_skipped
from swinkit.errors import InputError
from swinkit.files import atomic_path

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Args(CommonArgs):
    """Arguments of `swinkit embed`.

    Attributes:
        model: a run folder, a checkpoint, or the name of a published one.
        inputs: pictures, folders (searched in depth) or patterns.
        out: a .parquet file (columns path, vector) or an .npz file (arrays paths, vectors).
        batch_size: pictures at once.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUTS...")]
    out: Path
    batch_size: int = 16


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    args = parse(
        Args,
        argv,
        prog="swinkit embed",
        description="Write the pooled features of the last stage for every picture: one vector each.",
        examples=(
            "swinkit embed swin_tiny_patch4_window7_224 photos/ --out vectors.parquet",
            "swinkit embed runs/flowers 'photos/*.jpg' --out vectors.npz",
        ),
    )
    if args.out.suffix.lower() not in WRITERS:
        raise InputError(f"--out {args.out} must end in {' or '.join(WRITERS)}.")
    if args.out.suffix.lower() == ".parquet":
        _require_pyarrow()
    if not args.inputs:
        raise InputError("nothing to embed: name pictures, folders or patterns after the model.")
    import numpy as np

    import swinkit
    from swinkit.data import list_pictures

    device = pick_device(args.device)
    seed_everything(args.seed)
    paths = list_pictures(args.inputs)
    model = swinkit.load(args.model, device=device)
    predictor = swinkit.Predictor(model, device=device, batch_size=args.batch_size)
    results, skipped = collect(predictor.embed, paths, "embedding")
    names = [str(path) for path, _ in results]
    vectors_NC = np.stack([vector for _, vector in results])
    with atomic_path(args.out) as temporary:
        WRITERS[args.out.suffix.lower()](temporary, names, vectors_NC)
    report_skipped(skipped, len(paths))
    stderr().print(f"wrote {len(names)} vectors of {vectors_NC.shape[1]} numbers to {args.out}")
    return 0


def _write_npz(path: Path, names: Sequence[str], vectors_NC: "np.ndarray") -> None:
    import numpy as np

    np.savez(path, paths=np.asarray(names), vectors=vectors_NC)


def _write_parquet(path: Path, names: Sequence[str], vectors_NC: "np.ndarray") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(vectors_NC.reshape(-1), type=pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, vectors_NC.shape[1])
    pq.write_table(pa.table({"path": list(names), "vector": vectors}), path)


WRITERS = {".parquet": _write_parquet, ".npz": _write_npz}
"""Ending -> function (path, names, vectors (N, C))."""


def _require_pyarrow() -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise InputError(
            "Parquet needs the pyarrow package: pip install 'swinkit[parquet]', or write an .npz file."
        )
