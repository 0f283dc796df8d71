"""Scores against a direct count, results as files, polygons that fill back to the mask, and the commands."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import swinkit
from swinkit.backbones import SwinConfig
from swinkit.cli.main import main
from swinkit.data.mask_config import MaskDataConfig
from swinkit.data.masks import open_masks
from swinkit.errors import InputError
from swinkit.evaluate.masks import mask_of_picture
from swinkit.evaluate.segmentation import ConfusionCounts, count_pixels, evaluate_segmenter, scores_of
from swinkit.ops.polygons import polygons
from swinkit.segmentation.config import InferenceConfig
from swinkit.segmentation.segmenter import Segmenter
from swinkit.viz.legend import class_colors
from swinkit.viz.segmentation import overlay
from swinkit.weights import save


@pytest.fixture
def model() -> Segmenter:
    config = SwinConfig(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), drop_path_rate=0.0)
    names = ("ground", "square")
    made = swinkit.create_segmenter(
        config, class_names=names, channels=8, auxiliary_channels=0, crop=(64, 64)
    )
    torch.nn.init.normal_(made.decode_head.classify.weight)  # so that both classes are predicted somewhere
    return made.eval()


def test_scores_are_those_of_a_direct_count() -> None:
    random = np.random.default_rng(0)
    true, said = random.integers(0, 5, (3, 20, 30)), random.integers(0, 4, (3, 20, 30))
    true[true == 3] = 255
    counts = ConfusionCounts(5)
    for t, s in zip(true, said, strict=True):
        counts.update(torch.from_numpy(s), torch.from_numpy(t))
    scores = scores_of(counts.compute())
    ious, accs = [], []
    known = true != 255
    for k in range(5):
        both = int(((true == k) & (said == k) & known).sum())
        either = int((((true == k) | (said == k)) & known).sum())
        of_class = int((true == k).sum())
        ious.append(both / either if either else np.nan)
        accs.append(both / of_class if of_class else np.nan)
    assert scores.iou == pytest.approx(ious, nan_ok=True)
    assert scores.miou == pytest.approx(np.nanmean(ious))
    assert scores.macc == pytest.approx(np.nanmean(accs))
    assert scores.aacc == pytest.approx((true == said)[known].mean())


def test_counts_are_whole_and_add_up_over_processes() -> None:
    random = torch.Generator().manual_seed(0)
    true = torch.randint(0, 3, (4, 30, 30), generator=random)
    said = torch.randint(0, 3, (4, 30, 30), generator=random)
    together, first, second = (ConfusionCounts(3) for _ in range(3))
    for index in range(4):
        together.update(said[index], true[index])
        (first if index % 2 else second).update(said[index], true[index])
    assert together.compute().dtype == torch.int64
    assert torch.equal(first.compute() + second.compute(), together.compute())
    # What Lightning does between processes: gather the states, then reduce them as the metric says.
    reduce = first._reductions["counts"]
    assert callable(reduce)
    assert torch.equal(reduce(torch.stack([first.counts, second.counts])), together.compute())


def test_a_class_the_model_does_not_have_is_said() -> None:
    with pytest.raises(InputError, match="the class 7, but the model has 2"):
        count_pixels(torch.zeros(2, 2), torch.full((2, 2), 7), 2)


def test_evaluating_counts_every_pixel(model, mask_folder) -> None:
    data = open_masks(MaskDataConfig(path=mask_folder()), "train")
    report = evaluate_segmenter(model, data)
    counts = torch.zeros(2, 2, dtype=torch.int64)
    for picture, mask in data:
        counts += count_pixels(mask_of_picture(model, picture), torch.from_numpy(mask), 2)
    assert torch.equal(report.confusion, counts)
    assert int(report.confusion.sum()) == sum(int((mask != 255).sum()) for _, mask in data)
    json.dumps(report.to_dict())


@pytest.mark.parametrize(
    "inference",
    [
        InferenceConfig(),
        InferenceConfig(mode="slide", crop=(64, 64), stride=(40, 40)),
        InferenceConfig(scales=(0.5, 1.0), flip=True),
        InferenceConfig(short_side=50, long_side=200),
        InferenceConfig(crop=(64, 64), stride=(48, 48), tile_from=1000),
        InferenceConfig(short_side=70, crop=(64, 64), stride=(48, 48), tile_from=1000, flip=True),
    ],
    ids=["whole", "slide", "scales", "resized", "tiles", "resized-tiles"],
)
def test_every_way_of_reading_gives_a_mask_of_the_picture_s_size(model, inference) -> None:
    model.set_inference(inference)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8))
    mask = mask_of_picture(model, picture)
    assert (mask.shape, mask.dtype) == ((90, 131), torch.uint8)
    assert int(mask.max()) <= 1


def test_reading_whole_is_the_highest_logit(model) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8))
    from swinkit.data.mask_transforms import MaskEvalTransform

    image = MaskEvalTransform(model.spec.preprocess, model.config.inference).image(picture)
    wanted = model(image[None])[0].argmax(dim=0)
    assert float((mask_of_picture(model, picture) == wanted).float().mean()) > 0.999


def filled(rings, size: tuple[int, int]) -> np.ndarray:
    """Even-odd fill of rings whose corners lie between pixels."""
    mask = np.zeros(size, bool)
    scaled = np.zeros((2 * size[0] + 1, 2 * size[1] + 1), bool)
    for region in rings:
        for ring in region:
            layer = Image.new("1", (scaled.shape[1], scaled.shape[0]))
            ImageDraw.Draw(layer).polygon([(2 * x, 2 * y) for x, y in ring], fill=1)
            inner = np.asarray(layer)[1::2, 1::2]
            mask ^= inner
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_polygons_fill_back_to_the_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((13, 17)) < 0.5
    assert np.array_equal(filled(polygons(mask), mask.shape), mask)


def test_polygons_of_a_frame_are_an_outline_and_a_hole() -> None:
    mask = np.ones((4, 5), bool)
    mask[1:3, 1:4] = False
    ((outline, hole),) = polygons(mask)
    assert outline == [(0, 0), (5, 0), (5, 4), (0, 4)]
    assert sorted(hole) == [(1, 1), (1, 3), (4, 1), (4, 3)]
    assert polygons(mask, least=100) == []
    assert polygons(np.zeros((3, 3), bool)) == []


def test_results_are_masks_overlays_and_polygons(model, mask_folder, tmp_path) -> None:
    path = mask_folder() / "images" / "train" / "0.jpg"
    result = swinkit.Predictor(model)(path)
    result.save_mask(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as written:
        assert written.mode == "P"
        assert np.array_equal(np.asarray(written), result.mask)
    colors = np.array(class_colors(2), np.uint8)
    with Image.open(tmp_path / "mask.png") as written:
        assert np.array_equal(np.asarray(written.convert("RGB")), colors[result.mask])
    drawn = result.draw()
    assert drawn.width >= 64
    assert drawn.height > result.size[0]
    body = json.loads(json.dumps(result.to_dict(polygons=True)))
    assert sum(body["shares"].values()) == pytest.approx(1)
    again = np.full(result.size, 255)
    for index in range(2):
        rings = [item["rings"] for item in body["polygons"] if item["class"] == index]
        again[filled(rings, result.size)] = index
    assert np.array_equal(again, result.mask)
    with pytest.raises(InputError, match=r"end .* in \.png"):
        result.save_mask(tmp_path / "mask.jpg")


def test_an_overlay_shows_each_class_s_colour_and_names_those_that_occur() -> None:
    palette = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
    mask = np.full((40, 320), 1, np.uint8)
    mask[:, 160:] = 2
    mask[:5] = 255
    drawn = overlay(Image.new("RGB", (320, 40), "black"), mask, ("a", "b", "c"), palette)
    seen = np.asarray(drawn)
    assert seen[2, 10].tolist() == [0, 0, 0]
    assert [int(seen[20, column].argmax()) for column in (10, 300)] == [1, 2]
    assert 80 < seen[20, 10].max() < 150  # the picture still shines through
    below = {tuple(color) for color in seen[40:].reshape(-1, 3).tolist()}
    assert {palette[1], palette[2]} <= below
    assert palette[0] not in below


def test_colours_differ() -> None:
    colors = class_colors(150)
    assert len(set(colors)) == 150


def test_eval_and_predict_speak_the_common_grammar(model, mask_folder, tmp_path, capsys) -> None:
    save(model, tmp_path / "model.safetensors")
    data, out = mask_folder(), tmp_path / "out"
    words = ["eval", str(tmp_path / "model.safetensors"), "--data", str(data), "--device", "cpu"]
    assert main([*words, "--out", str(out), "--scales", "0.5", "1.0", "--flip"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["split"], report["count"]) == ("test", 2)
    assert (out / "confusion.png").stat().st_size > 0
    assert "square" in capsys.readouterr().out

    pictures = str(data / "images" / "test")
    words = ["predict", str(tmp_path / "model.safetensors"), pictures, "--out", str(out), "--device", "cpu"]
    assert main([*words, "--save-pictures", "--polygons"]) == 0
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["0.png", "1.png"]
    assert sorted(path.name for path in (out / "overlays").iterdir()) == ["0.png", "1.png"]
    assert json.loads((out / "predictions.json").read_text())[0]["polygons"]

    assert main([*words, "--tile", "32"]) == 2
    assert "--tile is for detection" in capsys.readouterr().err
    assert main([*words, "--least", "0"]) == 2
    assert main(["eval", str(tmp_path / "model.safetensors"), "--data", pictures, "--device", "cpu"]) == 2
    assert "has no pictures with masks" in capsys.readouterr().err
    assert main([*words, "--format", "csv"]) == 2
    assert "masks do not fit into CSV" in capsys.readouterr().err
    (data / "classes.txt").write_text("ground\nsquare\ncircle\n")
    assert main(["eval", str(tmp_path / "model.safetensors"), "--data", str(data)]) == 2
    assert "the data has 3 classes" in capsys.readouterr().err
