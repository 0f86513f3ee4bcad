# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`render_line` against matplotlib's Agg rasteriser and plain geometry; colours against textbook colour formulas."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from timesclip_hf.model.rendering import apply_color, render_line, variate_colors

SIZES_AND_WIDTHS = [(size, width) for size in (224, 64) for width in (1.0, 1.5, 2.0, 3.0)]


def agg_ink(values: np.ndarray, height: int, width: int, line_width: float, margin: float) -> np.ndarray:
    """Ink of the same polyline drawn by matplotlib: 72 dpi (a point is a pixel), no simplification, no snapping."""
    with matplotlib.rc_context({"path.simplify": False}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.set_xlim(0, width)
        axes.set_ylim(0, height)
        x = np.linspace(margin, width - margin, len(values))
        y = margin + values * (height - 2 * margin)
        # Agg draws nothing for a lone point: make it two, a thousandth of a pixel apart.
        padded = np.r_[np.nan, values, np.nan]
        lone = np.isfinite(values) & np.isnan(padded[:-2]) & np.isnan(padded[2:])
        times = np.where(lone, 2, 1)
        x, y = np.repeat(x, times), np.repeat(y, times)
        x[np.flatnonzero(np.repeat(lone, times))[1::2]] += 1e-3
        axes.plot(x, y, color="k", lw=line_width, solid_capstyle="round", solid_joinstyle="round", snap=False)
        canvas.draw()
        return 1 - np.asarray(canvas.buffer_rgba())[..., 0] / 255.0


def make_series() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    year, long = np.linspace(0, 1, 36), np.linspace(0, 1, 1000)
    gappy = rng.random(36)
    gappy[rng.random(36) < 0.3] = np.nan
    gappy_long = 0.5 + 0.4 * np.sin(9 * long)
    gappy_long[rng.random(1000) < 0.3] = np.nan
    walk = np.cumsum(rng.normal(size=1000))
    return {
        "smooth": 0.5 + 0.5 * np.sin(7 * year),
        "noisy": rng.random(36),
        "noisy_100": rng.random(100),
        "noisy_300": rng.random(300),
        "constant": np.full(36, 0.5),
        "constant_at_the_bottom": np.zeros(36),
        "constant_at_the_top": np.ones(36),
        "two_points": np.array([0.0, 1.0]),
        "smooth_1000": 0.5 + 0.45 * np.sin(9 * long),
        "walk_1000": (walk - walk.min()) / np.ptp(walk),
        "noisy_1000": rng.random(1000),
        "gappy": gappy,
        "gappy_1000": gappy_long,
    }


SERIES = make_series()
SMOOTH = ["smooth", "constant", "constant_at_the_bottom", "constant_at_the_top", "two_points", "smooth_1000"]


def ink(values: np.ndarray, height: int, width: int, line_width: float = 1.5, **options: float) -> np.ndarray:
    return render_line(torch.from_numpy(values)[None], height, width, line_width, **options)[0].numpy()


@pytest.mark.parametrize(("size", "line_width"), SIZES_AND_WIDTHS)
@pytest.mark.parametrize("name", SERIES)
def test_ink_agrees_with_matplotlib(name: str, size: int, line_width: float) -> None:
    expected = agg_ink(SERIES[name], size, size, line_width, line_width / 2 + 0.5)
    assert np.abs(ink(SERIES[name], size, size, line_width) - expected).mean() < 0.01


@pytest.mark.parametrize(("size", "line_width"), SIZES_AND_WIDTHS)
@pytest.mark.parametrize("name", SMOOTH)
def test_each_columns_centroid_agrees_with_matplotlib(name: str, size: int, line_width: float) -> None:
    rows = np.arange(size)[:, None] + 0.5
    expected = agg_ink(SERIES[name], size, size, line_width, 3.0)
    found = ink(SERIES[name], size, size, line_width, margin=3.0)
    inner = slice(4, size - 4)  # the caps' columns hold little ink
    centroids = [(picture * rows).sum(0)[inner] / picture.sum(0)[inner] for picture in (expected, found)]
    assert np.abs(centroids[0] - centroids[1]).max() < 0.1


def test_oblong_images_agree_with_matplotlib() -> None:
    expected = agg_ink(SERIES["noisy"], 40, 150, 2.0, 1.5)
    assert np.abs(ink(SERIES["noisy"], 40, 150, 2.0) - expected).mean() < 0.01


def test_values_beyond_the_range_leave_the_image_as_in_matplotlib() -> None:
    values = np.array([0.5, 3.0, -2.0, 0.2, 1.4, 0.9])
    assert np.abs(ink(values, 64, 64) - agg_ink(values, 64, 64, 1.5, 1.25)).mean() < 0.01


@pytest.mark.parametrize("value", [5.0, -5.0, 1e30, -1e30])
def test_a_line_wholly_outside_leaves_no_ink(value: float) -> None:
    assert not ink(np.full(9, value), 32, 32).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_huge_excursion_gives_finite_ink(dtype: torch.dtype) -> None:
    values = torch.tensor([[0.5, torch.finfo(dtype).max, 0.5, torch.finfo(dtype).min, 0.5]], dtype=dtype)
    picture = render_line(values, 32, 32)
    assert picture.isfinite().all() and picture.max() <= 1 and picture.sum() > 0


def test_a_constant_line_covers_exactly_its_area() -> None:
    # 64 rows, margin 2: value 0.5 is at y = 32, so a 3 pixel stroke fills rows 31 and 32 and half of 30 and 33.
    column = ink(np.full(5, 0.5), 64, 64, 3.0, margin=2.0)[:, 20]
    expected = np.zeros(64)
    expected[30:34] = 0.5, 1, 1, 0.5
    np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_by_default_a_stroke_at_the_range_s_ends_keeps_its_whole_width(value: float) -> None:
    assert ink(np.full(5, value), 50, 50, 2.5)[:, 25].sum() == pytest.approx(2.5, abs=1e-3)


def test_a_straight_lines_ink_is_its_length_times_its_width_plus_two_half_discs() -> None:
    length = math.hypot(90.0, 90.0)
    area = ink(np.array([0.0, 1.0]), 100, 100, 4.0, margin=5.0).sum()
    assert area == pytest.approx(length * 4.0 + math.pi * 4.0, rel=2e-3)


@pytest.mark.parametrize("values", [[0.5], [math.nan, 0.5, math.nan], [math.nan, math.nan, 0.5, math.nan, math.nan]])
def test_a_lone_step_is_a_round_dot(values: list[float]) -> None:
    picture = ink(np.array(values), 41, 41, 8.0)
    assert picture.sum() == pytest.approx(math.pi * 16.0, rel=5e-3)
    rows, columns = np.mgrid[:41, :41]
    distance = np.hypot(rows - 20, columns - 20)
    assert (picture[distance < 3.2] == 1).all() and (picture[distance > 4.8] == 0).all()


def test_a_gap_holds_no_ink() -> None:
    values = np.full(11, 0.5)
    values[4:7] = np.nan
    picture = ink(values, 60, 64, 2.0, margin=2.0)  # a step every six pixels: 3 is at x = 20, 7 at x = 44
    assert not picture[:, 21:43].any()
    assert picture[:, 3:20].sum(0).min() == pytest.approx(2.0)
    assert picture[:, 45:61].sum(0).min() == pytest.approx(2.0)


def test_a_series_without_observed_values_is_blank() -> None:
    values = torch.stack([torch.full((12,), math.nan), torch.rand(12)])
    picture = render_line(values, 32, 32)
    assert not picture[0].any() and picture[1].any()


def test_no_plots_give_no_images() -> None:
    assert render_line(torch.empty(0, 36), 32, 48).shape == (0, 32, 48)
    assert apply_color(torch.empty(0, 32, 48), torch.empty(0, 3)).shape == (0, 3, 32, 48)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_device_are_kept_and_arithmetic_is_float32(dtype: torch.dtype) -> None:
    values = torch.rand(3, 20).to(dtype)
    picture = render_line(values, 32, 32)
    assert picture.dtype == dtype and picture.device == values.device
    torch.testing.assert_close(picture, render_line(values.float(), 32, 32).to(dtype), rtol=0, atol=0)


def test_autocast_and_gradients_change_nothing() -> None:
    values = torch.rand(3, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = render_line(values.clone().requires_grad_(), 32, 32)
    assert picture.dtype == torch.float32 and not picture.requires_grad
    assert torch.equal(picture, render_line(values, 32, 32))


def test_compiled_equals_eager() -> None:
    values = torch.rand(3, 20)
    values[0, 4] = math.nan
    compiled = torch.compile(render_line, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(values, 32, 32), render_line(values, 32, 32))


@pytest.mark.parametrize("num_steps", [36, 1000])
def test_a_plot_does_not_depend_on_the_rest_of_a_large_batch(num_steps: int) -> None:
    values = torch.rand(150, num_steps)  # several chunks
    together = render_line(values, 64, 64)
    for index in (0, 77, 149):
        assert torch.equal(together[index], render_line(values[index : index + 1], 64, 64)[0])


SOME_VALUES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 60)),
    elements=st.one_of(st.floats(-0.5, 1.5, width=32), st.just(float("nan"))),
)
PROPERTY = settings(max_examples=60, deadline=None)


@PROPERTY
@given(SOME_VALUES, st.integers(16, 40), st.integers(16, 40), st.floats(0.3, 6.0))
def test_ink_is_a_fraction_and_plots_are_independent(
    values: np.ndarray, height: int, width: int, line_width: float
) -> None:
    picture = render_line(torch.from_numpy(values), height, width, line_width)
    assert picture.min() >= 0 and picture.max() <= 1  # also false for NaN
    alone = torch.cat([render_line(row[None], height, width, line_width) for row in torch.from_numpy(values)])
    assert torch.equal(picture, alone)


@PROPERTY
@given(SOME_VALUES, st.floats(0.5, 4.0))
def test_reversing_time_mirrors_the_image(values: np.ndarray, line_width: float) -> None:
    tensor = torch.from_numpy(values)
    mirrored = render_line(tensor.flip(1), 24, 32, line_width).flip(2)
    # A sample line may fall on either side of a shape's end: 1/16 of a pixel column.
    torch.testing.assert_close(mirrored, render_line(tensor, 24, 32, line_width), rtol=0, atol=0.07)
    assert (mirrored - render_line(tensor, 24, 32, line_width)).abs().mean() < 1e-3


@PROPERTY
@given(SOME_VALUES, st.floats(0.5, 4.0))
def test_reflecting_values_flips_the_image(values: np.ndarray, line_width: float) -> None:
    tensor = torch.from_numpy(values)
    flipped = render_line(1 - tensor, 24, 32, line_width).flip(1)
    torch.testing.assert_close(flipped, render_line(tensor, 24, 32, line_width), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.rand(5), 32, 32), r"values .*\(N, T\).*\(5,\)"),
        ((torch.rand(5, 0), 32, 32), r"at least one step"),
        ((torch.ones(2, 5, dtype=torch.long), 32, 32), "floating point.*int64"),
        ((torch.rand(2, 5), 0, 32), "height .* got 0"),
        ((torch.rand(2, 5), 32, 3.5), "width .* got 3.5"),
        ((torch.rand(2, 5), 32, 32, 0.0), "line_width .* got 0.0"),
        ((torch.rand(2, 5), 32, 32, math.nan), "line_width .* got nan"),
        ((torch.rand(2, 5), 32, 32, 1.5, -1.0), "margin .* got -1.0"),
        ((torch.rand(2, 5), 32, 32, 40.0), "margin .*line_width is 40.0"),
    ],
)
def test_bad_arguments_raise_and_say_what_was_found(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_line(*arguments)


def test_colour_goes_from_the_background_to_the_plots_colour() -> None:
    coverage = torch.tensor([[[0.0, 0.25, 1.0]], [[0.5, 0.0, 0.0]]])  # (2, 1, 3)
    colors = torch.tensor([[1.0, 0.0, 0.2], [0.0, 0.4, 1.0]])
    white = apply_color(coverage, colors)
    torch.testing.assert_close(white[0, :, 0], torch.tensor([[1, 1, 1], [1, 0.75, 0.0], [1, 0.8, 0.2]]))
    torch.testing.assert_close(white[1, :, 0, 0], torch.tensor([0.5, 0.7, 1.0]))
    black = apply_color(coverage, colors[0], background=torch.tensor([0.0, 0.0, 0.4]))
    torch.testing.assert_close(black[1, :, 0, 0], torch.tensor([0.5, 0.0, 0.3]))


@pytest.mark.parametrize(
    ("coverage", "colors", "background"),
    [((2, 4), (3,), ()), ((2, 4, 4), (3, 3), ()), ((2, 4, 4), (2,), ()), ((2, 4, 4), (3,), (2, 3))],
)
def test_colours_that_do_not_fit_raise(coverage: tuple, colors: tuple, background: tuple) -> None:
    with pytest.raises(ValueError, match="shape"):
        apply_color(torch.rand(coverage), torch.rand(colors), torch.rand(background))


def linear_rgb(colors: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def cielab(colors: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* for D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear_rgb(colors) @ to_xyz.T / to_xyz.sum(1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_the_first_24_colours_are_far_apart_and_stand_out_from_white() -> None:
    colors = variate_colors(24).astype(np.float64)
    lab = cielab(colors)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)[~np.eye(24, dtype=bool)]
    assert distance.min() > 30  # 2.3 is just noticeable
    assert np.linalg.norm(lab - [100, 0, 0], axis=1).min() > 35
    luminance = linear_rgb(colors) @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (luminance + 0.05)).min() > 2.4  # WCAG contrast ratio


def test_a_thousand_colours_are_valid_different_and_keep_their_order() -> None:
    colors = variate_colors(1000)
    assert colors.shape == (1000, 3) and colors.min() >= 0 and colors.max() <= 1
    assert len(np.unique(colors, axis=0)) == 1000
    assert all(np.array_equal(variate_colors(number), colors[:number]) for number in (1, 7, 24, 25, 400))


@pytest.mark.parametrize("number", [0, -1, 2.0, True])
def test_a_senseless_number_of_colours_raises(number: object) -> None:
    with pytest.raises(ValueError, match="num_variates"):
        variate_colors(number)
