"""Bench-only operators compute what they are said to: the peers of the operator, Table 5's methods."""

import dataclasses

import pytest
import torch

from swinkit.bench import attention
from swinkit.bench.attention_peers import Flex, RollPartition, Site
from swinkit.bench.methods import (
    METHODS,
    _random_features,
    cyclic_shift,
    linear_attention,
    padded_shift,
    performer,
    replace_attention,
    sliding_window,
)
from swinkit.bench.outcome import Disagreement
from swinkit.bench.paper import CYCLIC, OURS, TABLE_5, published_relation, table5, table8, window_for
from swinkit.bench.report import SITE_COLUMNS, site_data, site_row
from swinkit.bench.workload import Workload
from swinkit.ops.window_attention import window_attention
from swinkit.ops.windows import relative_position_index

CPU = torch.device("cpu")
SITE = Site(stage=1, map_size=(9, 10), heads=2, head_dim=16, window=(4, 5), shift=(2, 2))


def inputs(site=SITE, batch=2):
    qkv = torch.randn(batch, *site.map_size, 3, site.heads, site.head_dim)
    rows = (2 * site.window[0] - 1) * (2 * site.window[1] - 1)
    return qkv, torch.randn(rows, site.heads)


@pytest.mark.parametrize("size", [(9, 10), (8, 10), (4, 5), (3, 11)])
@pytest.mark.parametrize("shift", [(2, 2), (0, 0), (0, 3)])
@pytest.mark.parametrize("peer", [RollPartition, Flex])
def test_peers_compute_window_attention(peer, size, shift):
    site = dataclasses.replace(SITE, map_size=size, shift=shift)
    qkv, table = inputs(site)
    wanted = window_attention(qkv, table, window=site.window, shift=shift, impl="reference")
    found = eager_flex(site)(qkv, table) if peer is Flex else peer(site)(qkv, table)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def eager_flex(site):
    module = Flex(site)

    def attend(q, k, v, score_mod):
        """What flex_attention is defined to be; it warns when it is not compiled."""
        scores = q @ k.mT * q.shape[-1] ** -0.5
        at = torch.meshgrid(*(torch.arange(side) for side in scores.shape), indexing="ij")
        return torch.softmax(score_mod(scores, *at), dim=-1) @ v

    module.attention = attend
    return module


@pytest.mark.parametrize("size", [(9, 10), (8, 10), (4, 5), (3, 11)])
@pytest.mark.parametrize("shift", [(2, 2), (0, 0), (0, 3)])
@pytest.mark.parametrize("method", [padded_shift, cyclic_shift])
def test_padding_and_cyclic_shift_are_one_function(method, size, shift):
    site = dataclasses.replace(SITE, map_size=size)
    qkv, table = inputs(site)
    pad = torch.randn(3, site.heads, site.head_dim)
    wanted = window_attention(qkv, table, window=site.window, shift=shift, pad_qkv=pad, impl="reference")
    torch.testing.assert_close(method(qkv, table, site.window, shift, pad), wanted, atol=1e-5, rtol=1e-4)


def test_a_sliding_window_is_centred_on_every_token():
    window = (3, 5)
    qkv, table = torch.randn(1, 4, 6, 3, 2, 8), torch.randn(5 * 9, 2)
    found = sliding_window(qkv, table, window, (0, 0), None).view(4, 6, 2, 8)
    bias = table[relative_position_index(window)[7]]  # of the middle token, with every place around it
    for row in range(4):
        for column in range(6):
            near = [
                (r, c, bias[i * 5 + j])
                for i, r in enumerate(range(row - 1, row + 2))
                for j, c in enumerate(range(column - 2, column + 3))
                if 0 <= r < 4 and 0 <= c < 6
            ]
            keys = torch.stack([qkv[0, r, c, 1] for r, c, _ in near])
            values = torch.stack([qkv[0, r, c, 2] for r, c, _ in near])
            scores = (keys * qkv[0, row, column, 0] * 8**-0.5).sum(-1) + torch.stack([b for *_, b in near])
            wanted = (torch.softmax(scores, dim=0)[..., None] * values).sum(0)
            torch.testing.assert_close(found[row, column], wanted, atol=1e-5, rtol=1e-4)


def test_performer_estimates_attention_over_the_whole_map():
    qkv = torch.randn(1, 4, 5, 3, 2, 8) / 2  # the estimate's spread grows with the length of q + k
    q, k, v = qkv.permute(3, 0, 4, 1, 2, 5).flatten(3, 4)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    errors = [
        float((linear_attention(q, k, v, _random_features(8, count, CPU)) - wanted).abs().mean())
        for count in (16, 8000)
    ]
    assert errors[1] < 0.004
    assert 5 * errors[1] < errors[0]  # fewer features, a worse estimate
    assert (v.mean(-2, keepdim=True) - wanted).abs().mean() > 0.02  # what no attention at all would give
    found = performer(qkv, torch.zeros(1, 2), (7, 7), (0, 0), None)
    few = linear_attention(q, k, v, _random_features(8, 16, CPU))
    torch.testing.assert_close(found, few.transpose(1, 2).reshape(1, 4, 5, 16))


def test_a_model_with_exchanged_attention_keeps_its_function():
    workload = Workload(model="toy", size=(60, 72), batch=1, step="maps")  # maps that need padding
    images = workload.pictures()
    with torch.no_grad():
        wanted = workload.build()(images)
        for name, mix in METHODS.items():
            found = replace_attention(workload.build(), mix)(images)
            assert torch.allclose(found, wanted, atol=1e-4, rtol=1e-3) == ("shifted" in name), name


def test_one_stage_is_measured_against_the_peers():
    found = attention.measure(
        SITE,
        batch=1,
        dtype="float32",
        device=CPU,
        backward=True,
        rounds=1,
        peers=(attention.EAGER,),
        compiled=False,
    )
    assert set(found.seconds) >= {"swinkit sdpa", "swinkit reference", "swinkit auto", attention.EAGER}
    assert found.ours == "swinkit auto"  # what a user gets, were another one faster
    assert found.against([attention.COMPILED]) is None
    row = dict(zip(SITE_COLUMNS, site_row(found), strict=True))
    assert row[f"against {attention.FLEX}"] == "not asked for"
    assert site_data(found)["speedup"].keys() == {attention.EAGER}


def test_flex_s_missing_backward_is_said():
    found = attention.measure(
        SITE,
        batch=1,
        dtype="float32",
        device=CPU,
        backward=True,
        rounds=1,
        peers=(attention.FLEX,),
        compiled=False,
    )
    assert found.missing[attention.FLEX] == "flex_attention has no backward pass on the CPU"
    assert "no backward pass" in site_row(found)[-1]


def test_a_peer_that_differs_is_refused(monkeypatch):
    monkeypatch.setattr(
        RollPartition, "forward", lambda self, qkv, table: window_attention(qkv, None, window=SITE.window)
    )
    with pytest.raises(Disagreement, match="differs from the reference at stage 1 in float32"):
        attention.measure(
            SITE, batch=1, dtype="float32", device=CPU, backward=False, rounds=1, compiled=False
        )


def test_sites_are_the_model_s_stages():
    found = attention.sites("swin_tiny_patch4_window7_224")
    assert [(site.map_size, site.heads, site.head_dim, site.shift) for site in found] == [
        ((56, 56), 3, 32, (3, 3)),
        ((28, 28), 6, 32, (3, 3)),
        ((14, 14), 12, 32, (3, 3)),
        ((7, 7), 24, 32, (0, 0)),
    ]


def test_table_5_measures_stages_and_models(monkeypatch):
    found = table5(
        batch=1, dtype="float32", device=CPU, rounds=1, models=["toy"], methods=["shifted window (padding)"]
    )
    places = ["stage 1", "stage 2", "stage 3", "toy"]
    assert [result.place for result in found[::3]] == places
    by_name = {(result.place, result.method): result for result in found}
    assert by_name["stage 1", CYCLIC].speed.median == 1
    assert by_name["stage 1", "shifted window (padding)"].published == pytest.approx(3.0 / 3.3)
    assert by_name["toy", OURS].published is None
    monkeypatch.setitem(METHODS, "shifted window (padding)", METHODS["window, no shift"])
    with pytest.raises(Disagreement, match="differs from this library's windows"):
        table5(batch=1, dtype="float32", device=CPU, rounds=1, models=["toy"])


def test_the_paper_s_relations():
    assert TABLE_5[CYCLIC][4] / TABLE_5["shifted window (padding)"][4] == pytest.approx(1.127, abs=1e-3)
    assert published_relation("swin_tiny_patch4_window7_224", 384) == pytest.approx(219.5 / 755.2)
    assert published_relation("toy", 384) is None
    assert [window_for("swin_tiny_patch4_window7_224", size) for size in (224, 384, 250)] == [7, 12, None]


def test_table_8_compares_each_size():
    found = table8(
        batch=1,
        dtype="float32",
        device=CPU,
        threads=1,
        rounds=1,
        models=["toy"],
        sizes=[64, 112],
        candidates=["swinkit/eager"],
    )
    assert [comparison.workload.size for comparison in found] == [(64, 64), (112, 112)]
