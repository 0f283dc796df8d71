"""Bringing the labels of a data set and the outputs of a model into the same order, by the classes' names."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from swinkit.errors import InputError


class RelabelledDataset:
    """A data set whose label i is replaced with `mapping[i]`."""

    def __init__(self, dataset: Any, mapping: Sequence[int], classes: Sequence[str]) -> None:
        self.dataset, self.mapping, self.classes = dataset, tuple(mapping), tuple(classes)

    @property
    def paths(self) -> Any:
        """One file per item, or None when the pictures are not files."""
        return getattr(self.dataset, "paths", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        picture, label = self.dataset[index]
        return picture, self.mapping[label]


def match_classes(data: Sequence[str], model: Sequence[str], num_classes: int) -> list[int]:
    """Return the model's output for each class of the data.

    Args:
        data: class names of the data.
        model: class names of the model; empty when it has none, and then only the number is compared.
        num_classes: outputs of the model.

    Raises:
        InputError: the numbers differ, or a class is in one and not in the other; the sentence names some.
    """
    if not model:
        if len(data) != num_classes:
            raise InputError(
                f"the data has {len(data)} classes and the model {num_classes}: evaluate on the "
                "classes it was trained for."
            )
        return list(range(num_classes))
    place = {name: index for index, name in enumerate(model)}
    unknown = [name for name in data if name not in place]
    missing = [name for name in model if name not in set(data)]
    if unknown or missing:
        parts = [f"the model does not know {_some(unknown)}"] if unknown else []
        parts += [f"the data lacks {_some(missing)}"] if missing else []
        raise InputError(
            f"the data has {len(data)} classes and the model {num_classes}: {' and '.join(parts)}; "
            "evaluate on the classes the model was trained for."
        )
    return [place[name] for name in data]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
