"""Reading pictures from disk: whatever the file holds, an upright 8-bit RGB picture comes out.

Nothing else in the library opens picture files, so this is the one place that knows about EXIF, alpha, bit
depth, colour models, animations and broken files.
"""

import glob
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from swinkit.errors import InputError

EXTENSIONS = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".apng",
    )
)
"""File name endings (lower case) that count as pictures when a folder is searched."""

PictureSource = str | os.PathLike[str]


def open_picture(path: PictureSource, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Read a picture as upright 8-bit RGB.

    The EXIF rotation is applied, transparency is laid over white, 16-bit greys are scaled to 8 bits, an
    animation gives its first frame, greyscale, palette and CMYK become RGB.

    Args:
        path: the file.
        at_least: (height, width) in pixels the caller needs; a large JPEG is then decoded at a half, a
            quarter or an eighth of its size as long as it stays that large, which is several times faster.

    Raises:
        InputError: the file is missing, empty, truncated or not a picture; the sentence names it.
    """
    try:
        with open(path, "rb") as file:
            return decode_picture(file, str(path), at_least=at_least)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: give the path of a picture.") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder: a single picture was expected here.") from error
    except OSError as error:
        raise InputError(f"{path} could not be read ({error.strerror or error}).") from error


def decode_picture(
    file: io.IOBase | bytes, name: str, *, at_least: tuple[int, int] | None = None
) -> Image.Image:
    """Decode an open file or bytes as `open_picture` does; `name` stands for it in errors."""
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        # Up to twice PIL's limit only brings a warning there; satellite pictures are that large and meant.
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(stream) as image,  # type: ignore[arg-type]  # IOBase has what PIL reads with
        ):
            if at_least is not None:
                _draft(image, at_least)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} has too many pixels to be opened safely ({error}).") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not a picture in a known format, or is empty: replace or remove it."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise InputError(f"{name} is truncated or damaged ({error}): replace or remove it.") from error


def list_pictures(source: PictureSource | Iterable[PictureSource]) -> list[Path]:
    """Return the pictures of a file, a folder (searched in depth), a glob pattern or a list of these.

    The order is that given, sorted by name within a folder or a pattern. A file that is named itself is
    taken, whatever its ending.

    Raises:
        InputError: something named does not exist, or a folder or a pattern holds no picture.
    """
    if not isinstance(source, (str, os.PathLike)):
        return [path for item in source for path in list_pictures(item)]
    path = Path(source)
    if path.is_dir():
        found = pictures_below(path)
        if not found:
            raise InputError(
                f"no pictures in {path}: files ending in {', '.join(sorted(EXTENSIONS))} were expected."
            )
        return found
    if path.exists():
        return [path]
    if glob.has_magic(str(source)):
        matches = [Path(match) for match in sorted(glob.glob(str(source), recursive=True))]
        found = [match for match in matches if match.is_file() and is_picture(match)]
        if not found:
            raise InputError(f"no picture matches {source!s}: check the pattern.")
        return found
    raise InputError(f"{path} does not exist: give a picture, a folder or a pattern such as 'photos/*.jpg'.")


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in `folder` and its subfolders, sorted; hidden files and folders are left out."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in sorted(files) if is_picture(Path(name))]
    return sorted(found)


def is_picture(path: Path) -> bool:
    """Whether the name of `path` is that of a picture (hidden files are not)."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def _draft(image: Image.Image, at_least: tuple[int, int]) -> None:
    # EXIF may turn the picture by 90 degrees after decoding, so both sides have to hold either way.
    side = max(at_least)
    image.draft("RGB", (side, side))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of a decoded picture of any mode: transparency over white, more than 8 bits scaled down."""
    if image.mode == "RGB":
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_deep(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits. PIL's own conversion clips them to 255, which turns a picture white."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":  # floats are 0..1 by custom; some files hold 0..255 or 0..65535
        top = next((limit for limit in (1.0, 255.0, 65535.0) if values.max(initial=0) <= limit), values.max())
    else:
        top = 65535.0 if values.max(initial=0) <= 65535 else float(2**32 - 1)
    scaled = np.clip(np.nan_to_num(values) * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
