"""Figures keep no global state and are saved whole or not at all."""

import subprocess
import sys

import pytest

from swinkit.errors import InputError
from swinkit.viz import style


def test_figures_do_not_touch_pyplot():
    code = (
        "import sys, swinkit.viz.windows as w; w.windows_figure(); print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_failing_save_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    path.write_bytes(b"old")
    figure = style.new_figure(2, 1)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(InputError, match="No space left"):
        style.save(figure, path)
    assert path.read_bytes() == b"old"


def test_tint_runs_from_paper_to_the_colour():
    assert style.tint("#000000", 0) == (1, 1, 1)
    assert style.tint("#3b6fd4", 1) == pytest.approx((0x3B / 255, 0x6F / 255, 0xD4 / 255))


def test_axes_show_title_and_labels():
    axes = style.style_axes(style.new_figure(3, 2).add_subplot(), title="loss", x="step", y="nats")
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == ("loss", "step", "nats")
    assert not axes.spines["top"].get_visible()
