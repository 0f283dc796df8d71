"""What counts as a difference of outputs."""

import math

import pytest
import torch

from swinkit.deploy.measure import relative_error, worst

ONE = torch.tensor([2.0, 4.0])


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ([ONE, ONE], 0.0),
        ([torch.tensor([1.0, 4.0]), ONE], 0.25),
        ([ONE, torch.tensor([2.0, 5.0])], 0.25),
        ([ONE, torch.tensor([2.0, math.nan])], math.inf),
        ([ONE, torch.tensor([math.inf, 4.0])], math.inf),
        ([ONE, ONE[:1]], math.inf),  # it would broadcast
        ([ONE], math.inf),
    ],
)
def test_relative_error(found, error):
    assert relative_error(found, [ONE, ONE]) == error


def test_nothing_differs_from_nothing():
    assert relative_error([torch.zeros(0, 5)], [torch.zeros(0, 5)]) == 0.0
    assert worst([]) == 0.0
    assert worst([0.5, math.nan, 1.0]) == math.inf
