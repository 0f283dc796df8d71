"""CONVENTIONS.md, entry by entry."""

import random
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from swinkit.backbones import SwinConfig, build_backbone
from swinkit.backbones.cost import count_flops
from swinkit.backbones.pyramid import map_sizes
from swinkit.cli.main import main
from swinkit.data import (
    DataConfig,
    ResumableSampler,
    TransformedDataset,
    eval_transform,
    open_dataset,
    open_picture,
)
from swinkit.errors import InputError
from swinkit.layers import PatchEmbed, PatchMerging
from swinkit.ops.windows import pad_map, padded_size, region_ids, relative_position_index, to_pair
from swinkit.spec import Preprocess

ROOT = Path(__file__).resolve().parent.parent

TINY = SwinConfig(
    img_size=(32, 48), embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=4, out_indices=(0, 1)
)


class Noise:
    """A data set whose one picture is the same for every index."""

    classes = ("noise",)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return Image.new("RGB", (8, 8)), 0


def draw(picture):
    """A transform that shows all the randomness it meets."""
    return torch.tensor([torch.rand(()).item(), random.random(), np.random.rand()], dtype=torch.float64)


def test_every_entry_names_a_test_that_exists():
    text = (ROOT / "CONVENTIONS.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    rows = [
        line for line in text.splitlines() if line.startswith("|") and not re.match(r"\|(-|\s*what)", line)
    ]
    assert all("`test_" in row for row in rows)
    assert named
    assert named <= set(globals())


def test_pictures_are_bchw():
    model = build_backbone(TINY)
    assert len(model(torch.zeros(2, 3, 32, 48))) == 2
    with pytest.raises(InputError, match=r"\(B, 3, H, W\)"):
        model(torch.zeros(2, 32, 48, 3))


def test_pyramid_maps_are_bchw_from_fine_to_coarse():
    maps = build_backbone(TINY)(torch.randn(2, 3, 32, 48))
    assert [tuple(x.shape) for x in maps] == [(2, 8, 8, 12), (2, 16, 4, 6)]
    for x in maps:  # a fresh LayerNorm gives every token mean 0
        assert x.mean(dim=1).abs().max() < 1e-5


def test_maps_inside_are_token_major():
    maps = build_backbone(TINY).forward_maps(torch.randn(2, 3, 32, 48))
    assert [tuple(x.shape) for x in maps] == [(2, 8, 12, 8), (2, 4, 6, 16)]


def test_sizes_are_height_then_width():
    assert to_pair(7) == (7, 7)
    assert map_sizes((32, 48), (4, 4), 1) == [(8, 12)]
    transform = eval_transform(Preprocess(size=(20, 30), crop_ratio=None))
    assert transform(Image.new("RGB", (100, 50))).shape == (3, 20, 30)


def test_positions_are_row_then_column():
    ids = region_ids((4, 8), (4, 8), (0, 2))[0].view(4, 8)
    assert (ids == ids[0]).all()  # a shift along columns parts columns, not rows
    assert ids[0].unique().numel() == 2


def test_windows_and_shifts_count_tokens():
    model = build_backbone(TINY)
    block = next(module for module in model.modules() if hasattr(module, "relative_position_bias_table"))
    assert block.relative_position_bias_table.shape == (
        49,
        1,
    )  # 4 tokens a side, whatever the pixels of a patch


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (30, 52)])
def test_maps_round_up(size):
    maps = build_backbone(TINY)(torch.randn(1, 3, *size))
    expected = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (4, 8)]
    assert [tuple(x.shape[2:]) for x in maps] == expected


def test_padding_is_at_the_bottom_and_right():
    padded = pad_map(torch.ones(1, 3, 5, 1), padded_size((3, 5), (4, 4)))[0, ..., 0]
    assert padded.shape == (4, 8)
    assert padded[:3, :5].eq(1).all()
    assert padded.sum() == 15
    embed = PatchEmbed(1, 1, (4, 4), norm=False)
    nn.init.ones_(embed.proj.weight)
    nn.init.zeros_(embed.proj.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        assert embed(torch.ones(1, 1, 5, 6))[0, ..., 0].tolist() == [[16, 8], [4, 2]]


def test_pictures_open_as_upright_rgb(tmp_path):
    picture = Image.new("RGB", (6, 4), (200, 100, 50))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees to see it so
    picture.save(tmp_path / "turned.png", exif=exif)
    opened = open_picture(tmp_path / "turned.png")
    assert opened.mode == "RGB"
    array = np.asarray(opened)
    assert array.shape == (6, 4, 3)
    assert array.dtype == np.uint8
    assert array[0, 0].tolist() == [200, 100, 50]


def test_normalisation_is_of_rgb_in_0_to_1():
    preprocess = Preprocess(size=(4, 4), crop_ratio=None, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    image = eval_transform(preprocess)(Image.new("RGB", (4, 4), (255, 0, 51)))
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([1.0, -1.0, 0.1]))


def test_merging_concatenates_down_before_across():
    merging = PatchMerging(1)
    seen = []
    merging.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    merging(torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 2, 2, 1))
    assert seen[0].flatten().tolist() == [0, 2, 1, 3]


def test_relative_position_is_query_minus_key():
    index = relative_position_index((2, 3))
    assert index[0, 0] == 1 * 5 + 2  # the same token: the middle of the table
    assert index[5, 0] == (1 + 1) * 5 + (2 + 2)  # query below and right of the key: the last row
    assert index[0, 5] == 0


def test_a_shift_rolls_up_and_left():
    ids = region_ids((4, 4), (2, 2), (1, 1))
    assert ids[0].tolist() == [0, 0, 0, 0]  # the first window is whole
    assert ids[3].unique().numel() == 4  # the last joins the four corners of the map


def test_resizing_does_not_align_corners():
    config = SwinConfig(
        img_size=(16, 16), embed_dim=8, depths=(1,), num_heads=(1,), out_indices=(0,), position="absolute"
    )
    model = build_backbone(config)
    grid = model.absolute_pos_embed
    assert grid is not None
    blank = model.patch_embed(torch.zeros(1, 3, 32, 24))
    added = model._add_positions(blank) - blank
    expected = nn.functional.interpolate(
        grid.permute(0, 3, 1, 2), size=(8, 6), mode="bicubic", align_corners=False
    )
    torch.testing.assert_close(added, expected.permute(0, 2, 3, 1), atol=1e-6, rtol=1e-5)


def test_a_flop_is_a_multiply_add():
    config = SwinConfig(
        img_size=(8, 8), embed_dim=4, depths=(1,), num_heads=(1,), window_size=2, out_indices=(0,)
    )
    patch, classifier, mlp = 4 * 48 * 4, 4 * 10, 2 * 4 * 4 * 16
    equation_2 = 4 * 4 * 4**2 + 2 * 2**2 * 4 * 4
    assert count_flops(config, num_classes=10) == patch + classifier + mlp + equation_2


def test_the_state_dict_holds_weights_only():
    model = build_backbone(TINY)
    model(torch.zeros(1, 3, 40, 40))
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_augmentation_depends_on_seed_epoch_and_index():
    def sample(seed, epoch, index):
        dataset = TransformedDataset(Noise(), draw, seed)
        dataset.set_epoch(epoch)
        return tuple(dataset[index][0].tolist())

    base = sample(1, 2, 3)
    assert sample(1, 2, 3) == base
    others = {sample(9, 2, 3), sample(1, 9, 3), sample(1, 2, 0)}
    assert len(others | {base}) == 4
    for place in range(3):
        assert len({values[place] for values in others | {base}}) == 4


def test_reading_a_sample_leaves_the_generators_alone():
    dataset = TransformedDataset(Noise(), draw, 0)

    def next_numbers():
        return torch.rand(()).item(), random.random(), np.random.rand()

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    expected = next_numbers()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    dataset[0]
    assert next_numbers() == expected


def test_order_depends_on_seed_and_epoch():
    def order(seed, epoch, rank=0, world=1):
        sampler = ResumableSampler(20, shuffle=True, seed=seed, rank=rank, world=world)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert sorted(order(1, 2)) == list(range(20))
    assert order(1, 2, rank=1, world=2) == order(1, 2)[1::2]


def test_ranks_divide_whole_shards_in_training_only(tmp_path):
    pytest.importorskip("webdataset")
    (tmp_path / "classes.txt").write_text("one\n")
    for shard, count in enumerate((3, 1, 2)):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for name in (f"{shard}{number}.{ending}" for number in range(count) for ending in ("png", "cls")):
                tar.addfile(tarfile.TarInfo(name))
    shards = open_dataset(DataConfig(path=tmp_path), "all")

    def order(shuffle, rank=0, world=1):
        sampler = shards.sampler(shuffle=shuffle, seed=1, rank=rank, world=world)
        return [sample.name[:2] for sample in sampler]

    assert order(False) == ["00", "01", "02", "10", "20", "21"]
    assert order(False, rank=1, world=3) == order(False)[1::3]
    assert sorted(order(True)) == order(False) != order(True) == order(True)
    assert order(True, rank=3, world=4)[0] == order(True)[3]
    parts = [order(True, rank, world=3) for rank in range(3)]
    assert sorted({name[0] for name in part}.pop() for part in parts) == ["0", "1", "2"]
    assert all(len(part) == 2 and len({name[0] for name in part}) == 1 for part in parts)
    assert ["10", "10"] in parts


def test_wrong_input_is_an_input_error():
    assert issubclass(InputError, ValueError)
    with pytest.raises(InputError, match="do not divide"):
        SwinConfig(embed_dim=97)


def test_results_and_errors_take_different_streams(capsys):
    assert main(["--version"]) == 0
    shown = capsys.readouterr()
    assert shown.out
    assert not shown.err
    assert main(["nonsense"]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err


def test_masks_are_classes_with_255_for_none(tmp_path: Path) -> None:
    from swinkit.data.mask_classes import MaskClasses

    legend = MaskClasses(("road", "sky"), (0, 1), ignored=(7,))
    mask = legend.decode(np.array([[0, 1, 255, 7]], np.uint8), tmp_path / "mask.png")
    assert (mask.dtype, mask.tolist()) == (np.dtype(np.uint8), [[0, 1, 255, 255]])


def test_outlines_are_x_y_corners_between_pixels() -> None:
    from swinkit.ops.polygons import polygons

    mask = np.zeros((5, 6), bool)
    mask[1, 3:5] = True
    assert polygons(mask) == [[[(3, 1), (5, 1), (5, 2), (3, 2)]]]
