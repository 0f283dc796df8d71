"""Scores against numbers worked out by hand and by scikit-learn."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_score, recall_score, top_k_accuracy_score
from torch import nn

from swinkit.errors import InputError
from swinkit.evaluate import RelabelledDataset, evaluate_classifier, match_classes
from swinkit.viz.evaluation import confusion_figure, worst_figure
from swinkit.viz.style import save


class Given(nn.Module):
    """Gives the "images" back as logits."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, logits):
        assert not self.training
        return logits


def batches(logits, labels, size=16):
    return list(zip(logits.split(size), labels.split(size), strict=True))


def test_scores_agree_with_scikit_learn():
    logits, labels = torch.randn(100, 7), torch.randint(7, (100,))
    report = evaluate_classifier(Given(), batches(logits, labels))
    predicted = logits.argmax(1).numpy()
    true = labels.numpy()
    assert report.count == 100
    assert report.top1 == pytest.approx((predicted == true).mean())
    assert report.top5 == pytest.approx(top_k_accuracy_score(true, logits.numpy(), k=5, labels=range(7)))
    assert report.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert report.confusion is not None
    assert (report.confusion.numpy() == confusion_matrix(true, predicted, labels=range(7))).all()
    one_by_one: Any = {"average": None, "labels": range(7)}
    recall = np.asarray(recall_score(true, predicted, **one_by_one))
    precision = np.asarray(precision_score(true, predicted, **one_by_one))
    assert [row.recall for row in report.per_class] == pytest.approx(recall.tolist())
    assert [row.precision for row in report.per_class] == pytest.approx(precision.tolist())
    assert [row.count for row in report.per_class] == np.bincount(true, minlength=7).tolist()


def test_worst_cases_are_the_surest_mistakes():
    logits = torch.zeros(5, 3)
    logits[0, 0] = 5  # right
    logits[1, 1] = 2  # wrong
    logits[2, 2] = 9  # wrong and sure
    logits[3, 1] = 4  # wrong
    logits[4, 0] = 1  # right
    report = evaluate_classifier(
        Given(), batches(logits, torch.zeros(5, dtype=torch.long), 2), class_names=["a", "b", "c"], worst=2
    )
    assert [(case.index, case.true, case.predicted) for case in report.worst] == [
        (2, "a", "c"),
        (3, "a", "b"),
    ]
    assert report.worst[0].confidence == pytest.approx(math.exp(9) / (math.exp(9) + 2), rel=1e-5)
    assert report.top_k == 3
    assert report.top5 == 1.0


def test_report_is_json_and_empty_classes_have_no_score():
    report = evaluate_classifier(Given(), batches(torch.eye(3)[:2], torch.tensor([0, 1])))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["top1"] == 1.0
    assert data["top3"] == 1.0
    assert data["per_class"][2]["recall"] is None
    assert data["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert data["worst"] == []


def test_model_keeps_its_mode_and_the_bar_moves():
    model = Given().train()
    counts: list[int] = []
    evaluate_classifier(model, batches(torch.randn(20, 3), torch.randint(3, (20,))), on_batch=counts.append)
    assert model.training
    assert counts == [16, 4]


def test_labels_outside_the_model_and_nothing_to_do():
    with pytest.raises(InputError, match="label 3 but the model has 3 classes"):
        evaluate_classifier(Given(), batches(torch.randn(4, 3), torch.tensor([0, 1, 2, 3])))
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_classifier(Given(), [])


def test_classes_are_matched_by_name():
    assert match_classes(("b", "a"), ("a", "b"), 2) == [1, 0]
    assert match_classes(("x", "y"), (), 2) == [0, 1]
    with pytest.raises(InputError, match="the data has 3 classes and the model 2"):
        match_classes(("x", "y", "z"), (), 2)
    with pytest.raises(InputError, match=r"does not know 'c' and the data lacks 'b'"):
        match_classes(("a", "c"), ("a", "b"), 2)


def test_relabelled_dataset():
    dataset = RelabelledDataset([("p", 0), ("q", 1)], [1, 0], ("a", "b"))
    assert [dataset[index] for index in range(len(dataset))] == [("p", 1), ("q", 0)]


def test_figures(tmp_path, make_picture):
    from swinkit.data import open_picture

    logits, labels = torch.randn(60, 5), torch.randint(5, (60,))
    report = evaluate_classifier(
        Given(), batches(logits, labels), class_names=["$a$", "b", "c", "d" * 60, "é"]
    )
    save(confusion_figure(report), tmp_path / "confusion.png")
    pictures = [open_picture(make_picture())] * len(report.worst)
    save(worst_figure(report, pictures), tmp_path / "worst.png")
    right = evaluate_classifier(Given(), batches(torch.eye(3), torch.arange(3)))
    save(worst_figure(right, []), tmp_path / "none.png")
    for name in ("confusion", "worst", "none"):
        assert open_picture(tmp_path / f"{name}.png").width > 300
