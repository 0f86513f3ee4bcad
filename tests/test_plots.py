"""Figures: what is on them, and that they can be saved."""

import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hostile_text import HOSTILE
from matplotlib.figure import Figure
from matplotlib.image import imread

from timesclip_hf.plots import (
    plot_ablation,
    plot_forecasts,
    plot_model_view,
    plot_predictions,
    plot_selection_attention,
)


def save(figure: Figure, folder: Path) -> np.ndarray:
    """The figure as a PNG file of the figure's size that holds more than one colour."""
    figure.savefig(folder / "figure.png", dpi=50)
    pixels = imread(folder / "figure.png")
    width, height = figure.get_size_inches() * 50
    assert pixels.shape[:2] == (int(height), int(width)) and len(np.unique(pixels)) > 1
    return pixels


def test_predictions_stand_against_observations_with_their_errors(tmp_path: Path) -> None:
    figure = plot_predictions([1.0, 2.0, 6.0], [1.0, 3.0, 5.0], target_name="yield (t/ha)")
    (axes,) = figure.axes
    # errors 0, -1, 1; the mean of the targets is 3, their squares around it 4 + 0 + 4
    assert axes.get_title() == "RMSE 0.816, MAE 0.667, R2 0.750, n = 3"
    assert axes.get_xlabel() == "observed yield (t/ha)" and axes.get_ylabel() == "predicted yield (t/ha)"
    (points,) = axes.collections
    assert points.get_offsets().tolist() == [[1, 1], [3, 2], [5, 6]]
    (diagonal,) = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [1, 6]
    assert axes.get_legend() is None
    save(figure, tmp_path)


def test_groups_of_predictions_are_told_apart(tmp_path: Path) -> None:
    figure = plot_predictions(np.ones((3, 1)), np.arange(3.0)[:, None], groups=["wheat", "maize", "wheat"])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["maize (1)", "wheat (2)"]
    assert [points.get_offsets().tolist() for points in axes.collections] == [[[1, 1]], [[0, 1], [2, 1]]]
    save(figure, tmp_path)


@pytest.mark.parametrize(
    "arguments", [([1.0, 2.0], [1.0]), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, 2.0], "target", ["a"])]
)
def test_predictions_of_another_length_raise(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="one length"):
        plot_predictions(*arguments)


def test_the_models_view_shows_the_very_pixels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(7, 16, 16, 3), dtype=np.uint8)
    names = ["nir", "rvi", "swir1", "blue", "evi", "ndvi", "red"]
    figure = plot_model_view(images, names, title="field 12")
    shown = [axes for axes in figure.axes if axes.images]
    assert len(figure.axes) == 8 and [axes.get_title() for axes in shown] == names  # two rows of four
    for axes, image in zip(shown, images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
        assert axes.images[0].get_interpolation() == "nearest"
    assert figure.get_suptitle() == "field 12"
    save(figure, tmp_path)


def test_a_view_without_names_counts_variates() -> None:
    figure = plot_model_view(np.zeros((2, 8, 8, 3), dtype=np.uint8))
    assert [axes.get_title() for axes in figure.axes] == ["variate 0", "variate 1"]


def test_attention_is_averaged_over_heads_and_samples(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 4, 3))
    figure = plot_selection_attention(weights, ["nir", "red", "blue"])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), weights.mean(axis=(0, 1)))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["nir", "red", "blue"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nir", "red", "blue"]
    assert "0.33" in figure.axes[1].get_ylabel()  # what even attention would be
    save(figure, tmp_path)


def test_one_attention_matrix_is_shown_as_it_is() -> None:
    weights = np.array([[0.25, 0.75], [1.0, 0.0]])
    axes = plot_selection_attention(weights).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)


def test_wrong_shapes_raise() -> None:
    with pytest.raises(ValueError, match=r"\(7, 16, 16\)"):
        plot_model_view(np.zeros((7, 16, 16)))
    with pytest.raises(ValueError, match="1 variate_names were given for 2 images"):
        plot_model_view(np.zeros((2, 8, 8, 3)), ["nir"])
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        plot_selection_attention(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="3 variate_names were given for 2 variates"):
        plot_selection_attention(np.eye(2), ["a", "b", "c"])


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_names_are_drawn_as_they_are_whatever_they_hold(tmp_path: Path, suffix: str) -> None:
    figures = [
        *figures_with(["$x^{$", "a\x00b", "\x1b[2J", "_\u202e", HOSTILE[-1]]),
        plot_ablation(dict.fromkeys(HOSTILE, [1.0]), "R2"),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # not every font has every sign
        for figure in figures:
            figure.savefig(tmp_path / f"x.{suffix}", dpi=20)
            if suffix == "svg":
                ElementTree.parse(tmp_path / "x.svg")


def figures_with(names: list[str]) -> list[Figure]:
    count, values = len(names), np.arange(float(len(names)))
    return [
        plot_predictions(values, values, target_name=names[0], groups=names),
        plot_model_view(np.zeros((count, 2, 2, 3), np.uint8), names, title=names[0]),
        plot_selection_attention(np.full((count, count), 1 / count), names),
        plot_forecasts(np.ones((3, 1)), np.ones((2, 1)), {name: np.ones((2, 1)) for name in names}, names[:1]),
        plot_ablation({name: [1.0] for name in names}, names[0], names[-1]),
    ]


def test_dollars_underscores_and_control_characters_of_names_are_seen() -> None:
    names = ["$x^{$", "_hidden", "a$b$c", "\x1b[2Jred", "$\\frac$"]
    prediction, view, attention, _, ablation = figures_with(names)
    (axes,) = prediction.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "\\x1b[2Jred (1)", "$\\frac$ (1)", "$x^{$ (1)", "_hidden (1)", "a$b$c (1)"
    ]  # fmt: skip
    shown = ["$x^{$", "_hidden", "a$b$c", "\\x1b[2Jred", "$\\frac$"]
    assert [axes.get_title() for axes in view.axes if axes.images] == shown
    assert [text.get_text() for text in attention.axes[0].get_xticklabels()] == shown
    assert [text.get_text() for text in ablation.axes[0].get_yticklabels()] == shown
    named = [
        *attention.axes[0].get_xticklabels(),
        *axes.get_legend().get_texts(),
        axes.xaxis.label,
        view.axes[0].title,
    ]
    assert not any(text.get_parse_math() or text.get_usetex() for text in named)
