"""Forms of one engine: pictures in pieces, the quickest of several, GELU as a polynomial."""

import logging
import time

import pytest
import torch

from swinkit.deploy import engines
from swinkit.deploy.engines import fastest, in_pieces
from swinkit.deploy.fold import fold
from swinkit.deploy.folded import FoldedModel
from swinkit.deploy.packages import missing


def test_pictures_in_pieces_come_out_in_order():
    seen = []

    def run(images):
        seen.append(len(images))
        return [images + 1, images.mean(dim=(2, 3))]

    images = torch.randn(5, 3, 2, 2)
    maps, means = in_pieces(run, 2)(images)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(maps, images + 1)
    torch.testing.assert_close(means, images.mean(dim=(2, 3)))
    torch.testing.assert_close(in_pieces(lambda part: part * 2, 1)(images), images * 2)


def test_the_quickest_form_is_taken():
    def after(seconds):
        return lambda images: time.sleep(seconds) or images

    forms = {"slow": after(0.05), "quick": after(0.0), "slower": after(0.1)}
    name, run = fastest({name: lambda run=run: run for name, run in forms.items()}, torch.zeros(1))
    assert name == "quick"
    assert run is forms["quick"]


def test_a_form_that_fails_leaves_the_others(caplog):
    def unbuilt():
        raise RuntimeError("no such\n operator")

    def unrun(images):
        raise OSError("out of memory")

    def good(images):
        return images

    with caplog.at_level(logging.INFO, "swinkit"):
        assert fastest({1: lambda: unrun, 8: lambda: good, "x": unbuilt}, torch.zeros(1)) == (8, good)
    assert [record.message for record in caplog.records] == [
        "left out form 1: OSError: out of memory",
        "left out form 'x': RuntimeError: no such operator",
    ]
    with pytest.raises(RuntimeError, match="form 1: OSError: out of memory; form 'x': RuntimeError: no such"):
        fastest({1: lambda: unrun, "x": unbuilt}, torch.zeros(1))


def test_openvino_does_without_the_polynomial_where_it_cannot_be_built(classifier, images, monkeypatch):
    if missing("openvino") or missing("onnx"):
        pytest.skip("openvino or onnx is not installed")
    from swinkit.deploy import onnx_graph

    plain = onnx_graph.to_onnx

    def to_onnx(folded, **options):
        if options.get("polynomial"):
            raise RuntimeError("not today")
        return plain(folded, **options)

    monkeypatch.setattr(onnx_graph, "to_onnx", to_onnx)
    run = engines.ENGINES["openvino"].build(classifier, images, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(run(images), classifier(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_batch_is_the_same_in_one_call_or_one_by_one(name, classifier, monkeypatch):
    if missing(name) or missing("onnx"):
        pytest.skip(f"{name} or onnx is not installed")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = classifier(images)
    for count in (1, 3):
        monkeypatch.setattr(engines, "_counts", lambda _, count=count: [count])
        run = engines.ENGINES[name].build(classifier, images, torch.float32)
        torch.testing.assert_close(run(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["erf", "polynomial"])
def test_openvino_with_either_gelu(name, classifier, images, monkeypatch):
    if missing("openvino") or missing("onnx"):
        pytest.skip("openvino or onnx is not installed")
    monkeypatch.setattr(
        engines, "fastest", lambda forms, _: (name, forms[name]()) if name in forms else (1, forms[1]())
    )
    run = engines.ENGINES["openvino"].build(classifier, images, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(run(images), classifier(images), rtol=1e-4, atol=1e-5)


def test_the_polynomial_is_gelu():
    if missing("onnxruntime") or missing("onnx"):
        pytest.skip("onnxruntime or onnx is not installed")
    from swinkit.deploy.gelu import polynomial_gelu
    from swinkit.deploy.onnx_nodes import INPUT, LOGITS, Graph, to_bytes

    graph = Graph()
    graph.op("Identity", polynomial_gelu(graph, INPUT), outputs=(LOGITS,))
    session = engines.onnx_session(to_bytes(graph.proto(["batch"], [(LOGITS, ["batch"])])))
    x = torch.cat([torch.linspace(-6, 6, 100001), torch.tensor([-300.0, -40.0, 40.0, 300.0])])
    found = torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0]).double()
    error = (found - torch.nn.functional.gelu(x.double())).abs()
    assert error[x.abs() <= 6].max() < 1.5e-6
    assert (error / x.double().abs().clamp(min=1)).max() < 1.5e-6


def test_the_polynomial_is_written_where_asked_for(classifier):
    if missing("onnx"):
        pytest.skip("onnx is not installed")
    from swinkit.deploy.onnx_graph import to_onnx

    folded = fold(classifier, (32, 32))
    kinds = [{node.op_type for node in to_onnx(folded, polynomial=flag).graph.node} for flag in (False, True)]
    assert "Gelu" in kinds[0]
    assert "Gelu" not in kinds[1]
    assert "Clip" in kinds[1]


def test_inductor_compiles_the_model_where_attention_has_kernels_and_its_folded_form_elsewhere(
    classifier, images, monkeypatch
):
    asked = []

    def answer(reason):
        return lambda name, qkv: asked.append((name, qkv.dtype)) or reason

    monkeypatch.setattr(engines, "attention_can_run", answer(None))
    assert type(engines._form(classifier, images, torch.float32)) is type(classifier)
    monkeypatch.setattr(engines, "attention_can_run", answer("no compiler"))
    assert isinstance(engines._form(classifier, images, torch.bfloat16), FoldedModel)
    assert asked == [("native", torch.float32), ("native", torch.bfloat16)]
    for block in classifier.backbone.stages[0].blocks:
        block.attn.impl = "reference"  # as somebody asked for
    monkeypatch.setattr(engines, "attention_can_run", answer(None))
    assert isinstance(engines._form(classifier, images, torch.float32), FoldedModel)
