"""The training curve: the best value stands in free space inside its panel, epochs are whole numbers."""

import pytest

from swinkit.viz.curves import curves_figure


def _rows(scores):
    return [
        {"epoch": str(number), "loss": "1", "lr": "0.1", "val_loss": "2", "val_top1": str(score)}
        for number, score in enumerate(scores, start=1)
    ]


@pytest.mark.parametrize("scores", [(0.5, 0.7), (0.7, 0.5), (0.5,), (0.2, 1.0, 0.4), (0.5, *[0.99] * 30)])
def test_the_best_value_is_above_the_line_and_inside_the_panel(scores):
    figure = curves_figure(_rows(scores))
    figure.draw_without_rendering()
    accuracy = figure.axes[1]
    (label,) = accuracy.texts
    assert label.get_text() == f"best {100 * max(scores):.2f}%"
    box, panel = label.get_window_extent(), accuracy.get_window_extent()
    assert panel.x0 <= box.x0
    assert box.x1 <= panel.x1
    assert box.y1 <= panel.y1
    _, highest = accuracy.transData.transform((1, 100 * max(scores)))
    assert box.y0 > highest


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_epochs_are_whole_numbers(epochs):
    figure = curves_figure(_rows([0.5] * epochs))
    for axes in figure.axes:
        ticks = axes.get_xticks()
        assert len(ticks)
        assert all(tick == round(tick) for tick in ticks)
