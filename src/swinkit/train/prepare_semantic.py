"""The semantic branch of a detection job: whether there is one, and what it is trained on."""

from dataclasses import replace

from swinkit.data.objects import ObjectDataset
from swinkit.detection.config import DetectorConfig
from swinkit.detection.htc_config import HtcConfig, SemanticConfig
from swinkit.errors import InputError
from swinkit.models_detection import HEADS
from swinkit.train.detection_config import DetectorOptions


def reads_stuff(options: DetectorOptions) -> bool:
    """Whether stuff maps are learnt if there are any."""
    return isinstance(HEADS[options.head], HtcConfig) and options.semantic is not False


def with_semantic(options: DetectorOptions, data: ObjectDataset) -> bool:
    """Whether the detector learns stuff as well.

    Raises:
        InputError: it is asked for, and the head has no such branch or the pictures no stuff maps.
    """
    if not isinstance(HEADS[options.head], HtcConfig):
        if options.semantic is True:
            raise InputError(f"{options.head} has no semantic branch: leave --model.semantic at auto.")
        return False
    if options.semantic is True and not data.has_stuff:
        raise InputError(
            "the semantic branch needs a stuff map of every training picture: give their folder with "
            "--data.stuff, or train without it (--model.semantic False)."
        )
    return data.has_stuff if options.semantic == "auto" else options.semantic


def with_stuff_branch(head: HtcConfig, options: DetectorOptions, *, semantic: bool) -> HtcConfig:
    """Return the head with the semantic branch of these options, or without."""
    branch = SemanticConfig(classes=options.stuff_classes, channels=options.channels) if semantic else None
    return replace(head, semantic=branch)


def stuff_classes(config: DetectorConfig, data: ObjectDataset) -> int | None:
    """Return how many classes of stuff a detector learns; None for none.

    Raises:
        InputError: it learns them, and the pictures have no stuff maps (any more).
    """
    head = config.head
    if not isinstance(head, HtcConfig) or head.semantic is None:
        return None
    if not data.has_stuff:
        raise InputError(
            "the detector has a semantic branch and the training pictures have no stuff maps: give their "
            "folder with --data.stuff."
        )
    return head.semantic.classes
