"""Reading mask files, without a word about what their values mean."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from swinkit.errors import InputError


def read_mask(path: Path) -> np.ndarray:
    """Read a mask file: (H, W) integers of an index or palette picture, or (H, W, 3) colours.

    Raises:
        InputError: missing, damaged or not a picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
                return np.asarray(image.convert("RGB"))
            if image.mode == "LA":
                return np.asarray(image.getchannel("L"))
            if image.mode == "F":
                raise InputError(f"{path} holds fractions: a mask has whole numbers, one class each.")
            return np.asarray(image).astype(np.int64) if image.mode != "L" else np.asarray(image)
    except FileNotFoundError as error:
        raise InputError(f"the mask {path} does not exist.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the mask {path} is damaged or not a picture ({error}): replace it.") from error
