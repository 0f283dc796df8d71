"""Every kind of picture file becomes an upright 8-bit RGB picture, or an error that names the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swinkit.data import list_pictures, open_picture
from swinkit.errors import InputError


def pixel(picture: Any, place: tuple[int, int] = (0, 0)) -> tuple[int, int, int]:
    assert picture.mode == "RGB"
    return picture.getpixel(place)


def first_pixel(path: Path) -> tuple[int, int, int]:
    return pixel(open_picture(path))


def test_transparency_is_laid_over_white(tmp_path):
    Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (3, 2), (0, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("LA", (3, 2), (0, 0)).save(tmp_path / "grey.png")
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "solid.png")
    assert first_pixel(tmp_path / "clear.png") == (255, 255, 255)
    assert first_pixel(tmp_path / "half.png") == (127, 127, 127)
    assert first_pixel(tmp_path / "grey.png") == (255, 255, 255)
    assert first_pixel(tmp_path / "palette.png") == (255, 255, 255)
    assert first_pixel(tmp_path / "solid.png") == (40, 50, 60)


def test_palette_with_partly_transparent_colours(tmp_path):
    """PIL warns about these when they go to RGB directly; warnings are errors here."""
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    assert first_pixel(tmp_path / "p.png") == (255, 255, 255)


def test_grey_black_and_white_and_cmyk(tmp_path):
    Image.new("L", (3, 2), 77).save(tmp_path / "grey.png")
    Image.new("1", (3, 2), 1).save(tmp_path / "bits.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    assert first_pixel(tmp_path / "grey.png") == (77, 77, 77)
    assert first_pixel(tmp_path / "bits.png") == (255, 255, 255)
    red, green, blue = first_pixel(tmp_path / "cmyk.jpg")
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, ending):
    values = np.array([[0, 257 * 10, 65535], [256, 32768, 255]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    got = np.asarray(open_picture(tmp_path / f"deep.{ending}"))
    assert (got[..., 0] == [[0, 10, 255], [1, 128, 1]]).all()
    assert (got[..., 0] == got[..., 2]).all()


def test_deeper_integers_and_floats(tmp_path):
    Image.fromarray(np.array([[0, 65535]], dtype=np.int32)).save(tmp_path / "i.tif")
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "f.tif")
    assert np.asarray(open_picture(tmp_path / "i.tif"))[0, :, 0].tolist() == [0, 255]
    assert np.asarray(open_picture(tmp_path / "f.tif"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_an_animation_gives_its_first_frame(tmp_path, ending):
    frames = [Image.new("RGB", (6, 4), color) for color in ((200, 0, 0), (0, 200, 0))]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], duration=50)
    red, green, _ = first_pixel(tmp_path / f"a.{ending}")
    assert red > 150
    assert green < 50


def test_exif_rotation_is_applied(tmp_path):
    picture = Image.new("RGB", (16, 8), "black")
    picture.paste((255, 0, 0), (0, 0, 8, 8))  # left half red
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = open_picture(tmp_path / "turned.jpg")
    assert upright.size == (8, 16)
    assert pixel(upright, (4, 2))[0] > 200  # left became top
    assert pixel(upright, (4, 13))[0] < 60


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "one.png")
    assert first_pixel(tmp_path / "one.png") == (1, 2, 3)


def test_truncated_empty_and_other_files_are_named(tmp_path, make_picture):
    whole = make_picture("whole.jpg", size=(64, 64)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    png = make_picture("whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    for name, word in (("cut.jpg", "truncated"), ("cut.png", "truncated"), ("empty.jpg", "empty")):
        with pytest.raises(InputError, match=f"{name}.*{word}"):
            open_picture(tmp_path / name)
    with pytest.raises(InputError, match=r"text\.jpg.*not a picture"):
        open_picture(tmp_path / "text.jpg")
    with pytest.raises(InputError, match=r"gone\.jpg does not exist"):
        open_picture(tmp_path / "gone.jpg")
    with pytest.raises(InputError, match="folder"):
        open_picture(tmp_path)


def test_at_least_keeps_that_size_and_still_sees_truncation(tmp_path, make_picture):
    path = make_picture("large.jpg", size=(400, 800))
    assert open_picture(path, at_least=(90, 90)).size == (200, 100)
    assert open_picture(path, at_least=(300, 300)).size == (800, 400)
    (tmp_path / "cut.jpg").write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(InputError, match="truncated"):
        open_picture(tmp_path / "cut.jpg", at_least=(1, 1))


def test_list_pictures(tmp_path, make_picture):
    for name in ("b/2.JPG", "b/1.png", "a/3.jpeg", "b/.hidden.png"):
        make_picture(name)
    (tmp_path / "b" / "notes.txt").write_text("x")
    names = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
    assert names == ["a/3.jpeg", "b/1.png", "b/2.JPG"]
    assert list_pictures(str(tmp_path / "b" / "*")) == [tmp_path / "b" / "1.png", tmp_path / "b" / "2.JPG"]
    assert list_pictures([tmp_path / "b" / "2.JPG", tmp_path / "a"]) == [
        tmp_path / "b" / "2.JPG",
        tmp_path / "a" / "3.jpeg",
    ]


def test_list_pictures_names_what_is_missing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no pictures in .*empty"):
        list_pictures(tmp_path / "empty")
    with pytest.raises(InputError, match=r"no picture matches .*\*\.jpg"):
        list_pictures(str(tmp_path / "*.jpg"))
    with pytest.raises(InputError, match="does not exist"):
        list_pictures(tmp_path / "nowhere.jpg")
