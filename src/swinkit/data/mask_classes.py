"""What the values of a mask file mean: class names, colours, which values are classes and which are not."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from swinkit.data.mask_config import MaskDataConfig
from swinkit.data.mask_files import read_mask
from swinkit.errors import InputError
from swinkit.segmentation.config import IGNORE

NOT_A_CLASS = frozenset(("unlabelled", "unlabeled", "void", "ignore", "ignored", "unknown"))
"""Names in a class list whose pixels are left out."""
FILES = ("classes.txt", "classes.json", "labels.txt", "objectInfo150.txt")
LOSSY = (".jpg", ".jpeg", ".jfif")
ADE20K = Path(__file__).with_name("ade20k_classes.txt")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a data set.

    Attributes:
        names: of the classes.
        values: the number that stands for each class in the files.
        ignored: numbers that stand for no class; `IGNORE` always does, unless it is one of `values`.
        palette: (red, green, blue) of each class; empty when the data has no colours.
        ignored_colors: colours of pixels without a class in colour masks.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignored: tuple[int, ...] = ()
    palette: tuple[Color, ...] = ()
    ignored_colors: tuple[Color, ...] = ()

    def decode(self, file: np.ndarray, path: Path) -> np.ndarray:
        """Turn what a mask file holds, (H, W) numbers or (H, W, 3) colours, into classes (H, W) uint8.

        Raises:
            InputError: a value or a colour of no class; or colours where none are known.
        """
        return self._decode_colors(file, path) if file.ndim == 3 else self._decode_values(file, path)

    def _decode_values(self, file_HW: np.ndarray, path: Path) -> np.ndarray:
        low, high = int(file_HW.min(initial=0)), int(file_HW.max(initial=0))
        if low >= 0 and high < 256:
            mask_HW = self._table()[file_HW]
            wrong_HW = mask_HW == UNKNOWN
        else:
            wrong_HW = (file_HW < 0) | (file_HW > 255)
            mask_HW = self._table()[np.where(wrong_HW, IGNORE, file_HW)]
            wrong_HW |= mask_HW == UNKNOWN
        if wrong_HW.any():
            found = file_HW[wrong_HW]
            value = int(found[0])
            known = f"0 to {len(self.names) - 1}"
            if self.values != tuple(range(len(self.names))):
                known = ", ".join(map(str, self.values[:8])) + ", ..." * (len(self.values) > 8)
            more = len(np.unique(found)) - 1
            others = f" and {more} other such values" if more else ""
            advice = f"correct the mask, list the class, or leave the value out with --data.ignore {value}"
            if path.suffix.lower() in LOSSY:
                advice = "JPEG does not keep numbers, save masks as PNG"
            elif not 0 <= value <= 255:
                advice = "correct the mask, whose values must be from 0 to 255"
            raise InputError(
                f"{path} has the value {value} in {int((file_HW == value).sum())} pixels{others}, which is "
                f"none of the {len(self.names)} classes ({known}): {advice}."
            )
        return mask_HW.astype(np.uint8)

    def _decode_colors(self, file_HW3: np.ndarray, path: Path) -> np.ndarray:
        if (file_HW3[..., :1] == file_HW3).all():
            return self._decode_values(file_HW3[..., 0], path)  # a grey picture saved as RGB
        if not self.palette:
            raise InputError(
                f"{path} is an RGB picture and no colours are known: save masks as index PNGs, or give a "
                "class file with a colour behind each name (--data.classes)."
            )
        code_HW = _codes(file_HW3)
        mask_HW = np.full(code_HW.shape, UNKNOWN, np.int16)
        for index, color in enumerate(self.palette):
            mask_HW[code_HW == _codes(np.array(color))] = index
        for color in self.ignored_colors:
            mask_HW[code_HW == _codes(np.array(color))] = IGNORE
        wrong_HW = mask_HW == UNKNOWN
        if wrong_HW.any():
            color = tuple(int(part) for part in file_HW3[wrong_HW][0])
            count = int((code_HW == _codes(np.array(color))).sum())
            raise InputError(
                f"{path} has the colour {color} in {count} pixels, which is none of the classes': "
                "add it to the class file (JPEG masks never keep their colours: use PNG)."
            )
        return mask_HW.astype(np.uint8)

    def _table(self) -> np.ndarray:
        table = np.full(256, UNKNOWN, np.int16)
        table[IGNORE] = IGNORE
        table[[value for value in self.ignored if 0 <= value < 256]] = IGNORE
        table[list(self.values)] = np.arange(len(self.values))
        return table


UNKNOWN = -1


def read_classes(config: MaskDataConfig, root: Path, masks: Sequence[Path]) -> MaskClasses:
    """Find out what the masks' values mean: from the settings, a class file beside the data, or the masks.

    Raises:
        InputError: the class file is malformed, or classes and values do not fit together.
    """
    if _is_ade20k(config, root):
        names = [line for line in ADE20K.read_text(encoding="utf-8").splitlines() if line]
        return MaskClasses(tuple(names), tuple(range(1, len(names) + 1)), (0, *config.ignore))
    file = config.classes
    if file is None:
        file = next((root / name for name in FILES if (root / name).is_file()), None)
    if file is None:
        return _from_masks(config, masks)
    listed = parse_classes(file)
    kept = [index for index, (name, _) in enumerate(listed) if name.lower() not in NOT_A_CLASS]
    dropped = [index for index in range(len(listed)) if index not in kept]
    values = config.values or tuple(kept)
    if len(values) != len(kept):
        raise InputError(f"{len(values)} values for the {len(kept)} classes of {file}: give one each.")
    colors = [listed[index][1] for index in kept]
    palette = tuple(color for color in colors if color is not None)
    both = next((value for value in config.ignore if value in values), None)
    if both is not None:
        name = listed[kept[values.index(both)]][0]
        raise InputError(
            f"--data.ignore {both} is the number of the class {name!r} of {file}: name it void there if its "
            "pixels are to be left out, or do not ignore it."
        )
    return MaskClasses(
        names=tuple(listed[index][0] for index in kept),
        values=values,
        ignored=tuple({*config.ignore, *(dropped if not config.values else ())}),
        palette=palette if len(palette) == len(kept) else _palette_of(masks, values),
        ignored_colors=tuple(color for index in dropped if (color := listed[index][1]) is not None),
    )


def parse_classes(file: Path) -> list[tuple[str, Color | None]]:
    """Read a class file: a name a line, a colour behind it ("road 128 64 128", "road #804080") if wanted; or
    JSON, a list of names or of {"name": ..., "color": [r, g, b]}.

    Raises:
        InputError: missing, malformed, or a name twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"the class file {file} cannot be read ({error.strerror or error}).") from error
    if file.suffix == ".json":
        found = _from_json(text, file)
    else:
        lines = [line.strip() for line in text.splitlines()]
        found = [_from_line(line) for line in lines if line and not line.startswith("#")]
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{file} lists the class {twice!r} twice: give every class its own name.")
    if len(names) < 2:
        raise InputError(f"{file} lists {len(names)} classes: expected one name a line, at least two.")
    return found


def _from_line(line: str) -> tuple[str, Color | None]:
    if numbers := re.fullmatch(r"(.*?)[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})", line):
        return numbers[1].strip(), (int(numbers[2]), int(numbers[3]), int(numbers[4]))
    if code := re.fullmatch(r"(.*?)[\s,]+#([0-9a-fA-F]{6})", line):
        red, green, blue = bytes.fromhex(code[2])
        return code[1].strip(), (red, green, blue)
    return line, None


def _from_json(text: str, file: Path) -> list[tuple[str, Color | None]]:
    try:
        items = json.loads(text)
        if not isinstance(items, list):
            raise TypeError(f"it holds a {type(items).__name__}")
        found: list[tuple[str, Color | None]] = []
        for item in items:
            if isinstance(item, str):
                found.append((item, None))
                continue
            color = item.get("color")
            found.append((str(item["name"]), None if color is None else (color[0], color[1], color[2])))
        return found
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f'{file} is not a class list ({error}): expected ["road", ...] or [{{"name": "road", "color": '
            "[128, 64, 128]}, ...]."
        ) from error


def _from_masks(config: MaskDataConfig, masks: Sequence[Path]) -> MaskClasses:
    """Without a class file, classes are the values `--data.values` names, or 0 up to the highest found."""
    values = config.values
    if not values:
        present: set[int] = set()
        for path in masks:
            array = read_mask(path)
            if array.ndim == 3 and not (array[..., :1] == array).all():
                raise InputError(
                    f"{path} is an RGB picture and no colours are known: save masks as index PNGs, or put a "
                    "classes.txt with a colour behind each name beside images/ and masks/."
                )
            present |= set(np.unique(array).tolist())
        left = sorted(present - {IGNORE, *config.ignore})
        if left == [0] and IGNORE in present:
            raise InputError(
                f"the masks hold only 0 and {IGNORE}, and {IGNORE} means ignore, so there is one class: if "
                f"{IGNORE} is one, say which values are classes with --data.values 0 {IGNORE}."
            )
        if not left or left[-1] > 253:
            raise InputError(
                f"the masks hold the values {left[:6]}, from which the classes cannot be told: put a "
                "classes.txt with one name a line beside images/ and masks/, or give --data.values."
            )
        values = tuple(value for value in range(left[-1] + 1) if value not in config.ignore)
    names = tuple(f"class {value}" for value in values)
    return MaskClasses(names, values, config.ignore, _palette_of(masks, values))


def _palette_of(masks: Sequence[Path], values: Sequence[int]) -> tuple[Color, ...]:
    """Colours of a palette PNG for these values; none for other masks."""
    try:
        with Image.open(masks[0]) as image:
            flat = image.getpalette() if image.mode == "P" else None
    except (OSError, IndexError):
        return ()
    if flat is None or len(flat) < 3 * (max(values) + 1):
        return ()
    return tuple((flat[3 * value], flat[3 * value + 1], flat[3 * value + 2]) for value in values)


def _is_ade20k(config: MaskDataConfig, root: Path) -> bool:
    layout = (root / "images" / "training").is_dir() and (root / "annotations" / "training").is_dir()
    return config.kind == "ade20k" or (config.kind == "auto" and layout and config.classes is None)


def _codes(colors: np.ndarray) -> np.ndarray:
    """(..., 3) colours as one number each."""
    wide = colors.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
