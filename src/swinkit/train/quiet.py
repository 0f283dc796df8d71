"""Messages of libraries that a user can do nothing about, each with the reason why it may be silenced."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_SILENCED = {
    r"The '\w+' does not have many workers": "we choose by the cores: on 2, one worker is right",
    r".*dataloader is not resumable": "it is: our sampler starts at the position kept in the checkpoint",
    r"GPU available but not used": "trainer.device cpu was asked for",
    r"Found \d+ module\(s\) in eval mode": "frozen stages are in evaluation mode on purpose",
    r"Detected call of `lr_scheduler\.step\(\)` before": "fp16 skips steps to find its scale",
    r"The number of training batches .* is smaller than the logging interval": "we write our own rows",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated": "inside Lightning",
    r"Starting from v1\.9\.0, `tensorboardX`": "we write TensorBoard events ourselves",
    r"The `srun` command is available on your system": "an interactive SLURM shell may run one process",
}
"""Start of a warning's message (a regular expression) -> reason."""


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Lightning keeps its tips and device listings to itself, and the warnings above stay unseen."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _SILENCED:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
