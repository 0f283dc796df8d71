"""A block in bands is the block."""

import warnings

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from swinkit.layers import PatchMerging, SwinBlock, WindowAttention, bands
from swinkit.ops.windows import WindowPolicy


def make_block(window=(4, 4), *, shifted=True, policy: WindowPolicy = "pad_axis") -> SwinBlock:
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, window)
    block = SwinBlock(8, attention, shifted=shifted, window_policy=policy).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return block


class Sizes(TorchDispatchMode):
    """Numbers in the largest result of any operator."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, torch.Tensor) and not item._is_view():
                self.largest = max(self.largest, item.numel())
        return out


@pytest.mark.parametrize("policy", ["clamp", "clamp_axis", "pad", "pad_axis"])
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("size", [(16, 16), (17, 9), (18, 10), (19, 23), (21, 4), (4, 20), (3, 19), (5, 5)])
def test_bands_give_what_the_whole_map_gives(size, rows, policy, monkeypatch):
    x = torch.randn(2, *size, 8)
    for shifted, window in ((True, (4, 4)), (False, (4, 4)), (True, (3, 5)), (True, (4, 1)), (True, (1, 4))):
        block = make_block(window, shifted=shifted, policy=policy)
        expected = block(x).detach()
        monkeypatch.setattr(bands, "BAND_BYTES", rows * window[0] * size[1] * block.hidden * 4)
        with torch.no_grad():
            torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_a_map_is_cut_into_rows_that_are_each_there_once():
    for height in range(1, 30):
        for shift in (0, 1, 3):
            for rows in (1, 2, 3):
                found = list(bands.cut((height, 8), (4, 4), (shift, 2), rows=rows))
                numbers = [n for band in found for part in band.rows for n in range(height)[part]]
                assert sorted(numbers) == list(range(height))
                assert all(part.stop > part.start for band in found for part in band.rows)


def test_pictures_that_fit_go_together(monkeypatch):
    block, x = make_block(), torch.randn(5, 8, 8, 8)
    seen = []
    monkeypatch.setattr(bands, "BAND_BYTES", 2 * 64 * block.hidden * 4)
    compute = block._compute
    monkeypatch.setattr(block, "_compute", lambda x, shift: seen.append(len(x)) or compute(x, shift))
    with torch.no_grad():
        block(x)
    assert seen == [2, 2, 1]


def test_little_is_held_at_a_time(monkeypatch):
    block, x = make_block(), torch.randn(1, 64, 64, 8)
    with torch.no_grad(), Sizes() as whole:
        block(x)
    monkeypatch.setattr(bands, "BAND_BYTES", 4 * 64 * block.hidden * 4)
    with torch.no_grad(), Sizes() as cut:
        block(x)
    assert whole.largest == 4 * x.numel()  # the hidden layer
    assert cut.largest == x.numel()  # the result


@pytest.mark.parametrize("size", [(16, 6), (17, 7), (15, 5), (1, 9)])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_merging_in_bands(size, rows, monkeypatch):
    merging, x = PatchMerging(8).eval(), torch.randn(2, *size, 8)
    torch.nn.init.normal_(merging.norm.weight)
    expected = merging(x).detach()
    monkeypatch.setattr(bands, "BAND_BYTES", rows * 2 * size[1] * 8 * 4)
    with torch.no_grad(), Sizes() as seen:
        torch.testing.assert_close(merging(x), expected, rtol=1e-5, atol=1e-5)
    if size[0] > 2 * rows + 2:
        assert seen.largest < x.numel()


def test_the_whole_map_where_something_looks_on(monkeypatch):
    monkeypatch.setattr(bands, "BAND_BYTES", 1)
    block, x = make_block(), torch.randn(1, 16, 16, 8)
    assert bands.rows_of_a_band(block, x, block.hidden) is None  # gradients
    with torch.no_grad():
        assert bands.rows_of_a_band(block, x, block.hidden) == 1
        assert bands.rows_of_a_band(block, x.to("meta"), block.hidden) is None
        assert bands.rows_of_a_band(block.train(), x, block.hidden) is None
        seen = []
        handle = block.eval().mlp.fc2.register_forward_hook(
            lambda module, inputs, out: seen.append(out.shape)
        )
        block(x)
        assert seen == [x.shape]
        handle.remove()
        block(x)
        assert len(seen) == 1
        block.drop_path.train()
        assert bands.rows_of_a_band(block, x, block.hidden) is None
        block.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and still what some use
            traced = torch.jit.trace_module(block, {"forward": (x,)})
        two = torch.randn(2, 16, 16, 8)
        torch.testing.assert_close(traced(two), block(two), rtol=1e-5, atol=1e-5)
        pictures = torch.randn(3, 1, 16, 16, 8)
        block.attn.impl = "reference"  # which vmap can take apart
        torch.testing.assert_close(torch.vmap(block)(pictures)[2], block(pictures[2]), rtol=1e-5, atol=1e-5)
        exported = torch.export.export(block, (x,)).module()
        torch.testing.assert_close(exported(x), block(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_a_hook_on_all_modules_sees_whole_maps(register, monkeypatch):
    monkeypatch.setattr(bands, "BAND_BYTES", 1)
    block, x, seen = make_block(), torch.randn(1, 16, 16, 8), []
    handle = register(lambda module, inputs, *_: seen.append(inputs[0].shape[:3]))
    with torch.no_grad():
        block(x)
        assert seen == [x.shape[:3]] * len(seen)
        assert len(seen) > 5
        handle.remove()
        assert bands.rows_of_a_band(block, x, block.hidden) == 1
