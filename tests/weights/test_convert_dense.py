"""Files of the published dense backbones, there and back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from golden_cases import Case, cases
from swinkit.ops.windows import relative_position_index
from swinkit.weights import convert


@pytest.mark.parametrize("case", cases("dense", "mmdet3"))
def test_a_dense_file_there_and_back_is_identical(case: Case, tmp_path: Path) -> None:
    fmt = {"dense": "official_dense", "mmdet3": "mmdet3"}[case.kind]
    weights = case.weights
    if not any(key.endswith("relative_position_index") for key in weights):  # the slim cases leave it out
        tables = [key for key in weights if key.endswith("bias_table")]
        window = case.source["config"]["window_size"]
        index = relative_position_index((window, window))
        weights |= {key.removesuffix("bias_table") + "index": index.clone() for key in tables}
    save_file(weights, tmp_path / "theirs.safetensors")
    convert(tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "back.safetensors", fmt)
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == weights.keys()
    for key, value in weights.items():
        assert back[key].dtype == value.dtype, key
        assert torch.equal(back[key], value), key
