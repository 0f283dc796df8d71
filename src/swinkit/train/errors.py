"""How a training run ends before its time."""

from swinkit.errors import InputError


class TrainingError(InputError):
    """The run cannot go on, though nothing is broken: says what happened, what was kept and what to try."""


class TrainingInterrupted(Exception):
    """A signal asked the run to stop; its state has been saved."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name
