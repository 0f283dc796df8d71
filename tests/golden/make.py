"""Make the slim golden cases of this folder; needed again only when a case is to change.

    python tests/golden/make.py OFFICIAL GOLDEN

OFFICIAL is a checkout of the official classification repository, whose models run here at tiny sizes with
random weights. GOLDEN is a folder of full cases (SWINKIT_GOLDEN); of its dense backbones the first picture is
kept.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SIZES: dict[str, Any] = {
    "patch_size": 4,
    "in_chans": 3,
    "num_classes": 5,
    "embed_dim": 8,
    "mlp_ratio": 4.0,
    "patch_norm": True,
    "drop_rate": 0.0,
    "drop_path_rate": 0.0,
}
SMALL: dict[str, Any] = {"depths": [2, 2, 2], "num_heads": [1, 2, 4], "img_size": 112, "window_size": 7}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cls-official": ("SwinTransformer", {**SIZES, **SMALL, "qkv_bias": True, "ape": False}),
    "cls-official-positions": (
        "SwinTransformer",
        {
            **SIZES,
            "img_size": [64, 128],
            "window_size": 4,
            "depths": [2, 2, 2, 2],
            "num_heads": [1, 2, 2, 4],
            "embed_dim": 4,
            "qkv_bias": True,
            "ape": True,
        },
    ),
    "swin-mixer-official": ("SwinMLP", {**SIZES, **SMALL, "ape": False}),
}
FILES = {"SwinTransformer": "swin_transformer", "SwinMLP": "swin_mlp"}
DENSE = ("backbone-dense-official", "backbone-dense-mmdet3")


def main(official: Path, golden: Path) -> None:
    """Write every case."""
    for name, (cls, config) in CASES.items():
        make_classifier(name, cls, config, official)
    for name in DENSE:
        thin_dense(name, golden / name)
    thin_upernet("upernet", golden / "upernet")
    thin_faster_rcnn("faster-rcnn", golden / "mask-rcnn")


def make_classifier(name: str, cls: str, config: dict[str, Any], official: Path) -> None:
    """Run the official model of class `cls` forwards and backwards and keep what the tests compare."""
    torch.manual_seed(7)
    spec = importlib.util.spec_from_file_location(cls, official / "models" / f"{FILES[cls]}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = getattr(module, cls)(**config).eval()
    for parameter in model.parameters():  # away from zero biases and unit norms, so that every one matters
        nn.init.normal_(parameter, std=0.1)
        if parameter.ndim == 1:
            parameter.data += 0.5
    io: dict[str, Tensor] = {}
    for index, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda _, __, out, key=f"after_layer{index}": io.update({key: out}))
    size = config["img_size"]
    image = torch.randn(
        1, config["in_chans"], *(size if isinstance(size, list) else [size, size]), requires_grad=True
    )
    target = torch.tensor([2])
    io["logits"] = model(image)
    loss = nn.functional.cross_entropy(io["logits"], target)
    loss.backward()
    assert image.grad is not None
    io |= {"image": image, "image_grad": image.grad, "target": target, "loss": loss.view(1)}
    for key, parameter in model.named_parameters():
        if key.endswith(("bias_table", "spatial_mlp.bias", "qkv.bias", "reduction.weight")):
            io[f"grad:{key}"] = parameter.grad
    source = f"microsoft/Swin-Transformer, models/{FILES[cls]}.py"
    write(name, {"source": source, "cls": cls, "config": config, "seed": 7}, model.state_dict(), io)


def thin_dense(name: str, full: Path) -> None:
    """Keep the first picture and its maps of a full case, and its weights without what follows from the
    window."""
    io = load_file(full / "io.safetensors")
    kept = {key: value[:1] for key, value in io.items() if key == "image" or key.startswith("stage")}
    weights = load_file(full / "weights.safetensors")
    learnt = {key: value for key, value in weights.items() if not key.endswith("relative_position_index")}
    write(name, json.loads((full / "case.json").read_text()), learnt, kept)


def thin_upernet(name: str, full: Path) -> None:
    """Keep the first picture, every fourth pixel of the large maps, without the losses, which are of two."""
    io = load_file(full / "io.safetensors")
    kept = {key: io[key][:1] for key in ("image", "decode_logits", "auxiliary_logits")}
    for key in ("logits", "slide_logits", "multi_scale_flip_probabilities"):
        kept[key] = io[key][:1, :, ::4, ::4]
    kept["every"] = torch.tensor(4)
    weights = load_file(full / "weights.safetensors")
    learnt = {key: value for key, value in weights.items() if not key.endswith("relative_position_index")}
    write(name, json.loads((full / "case.json").read_text()), learnt, kept)


def thin_faster_rcnn(name: str, full: Path) -> None:
    """Keep the first picture of a Mask R-CNN without its mask branch and its losses, which are of two
    pictures."""
    case = json.loads((full / "case.json").read_text())
    case["config"]["roi_head"]["mask_head"] = None
    io = load_file(full / "io.safetensors")
    first = io["stage_rois"][:, 0] == 0
    kept = {key: io[key][first] for key in ("stage_rois", "stage0.cls", "stage0.bbox")}
    kept |= {key: io[key][:1] for key in ("backbone.3", "neck.3", "neck.4", "rpn.cls.2", "rpn.bbox.3")}
    kept |= {key: value for key, value in io.items() if key.startswith(("proposals.0.", "det.0."))}
    del kept["det.0.masks"]
    height, width = case["image_size"]
    kept["unpadded"] = io["image"][:1, :, :height, :width]
    learnt = {
        key: value
        for key, value in load_file(full / "weights.safetensors").items()
        if not key.endswith("relative_position_index") and "mask_head" not in key
    }
    write(name, case, learnt, kept)


def write(name: str, case: dict[str, Any], weights: dict[str, Tensor], io: dict[str, Tensor]) -> None:
    """Write one case's three files."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "case.json").write_text(json.dumps(case, indent=1) + "\n")
    for file, tensors in (("weights", weights), ("io", io)):
        ready = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
        save_file(ready, folder / f"{file}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
