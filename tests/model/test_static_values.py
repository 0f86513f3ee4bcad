"""Static columns to numbers, with hand-worked values."""

import json

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.model.static_values import encode_static, fit_static, static_width

TRAIN = [
    {"soil": "loam", "latitude": 40.0, "irrigated": True},
    {"soil": "clay", "latitude": 50.0, "irrigated": False},
    {"soil": "loam", "latitude": 60.0, "irrigated": False},
]


def test_numbers_are_standardised_and_categories_one_hot() -> None:
    encoding = fit_static(TRAIN)
    assert static_width(encoding) == 2 + 1 + 2
    std = (200 / 3) ** 0.5  # of 40, 50, 60 around 50
    encoded = encode_static(TRAIN, encoding)
    assert encoded.dtype == np.float32
    # soil: clay, loam (sorted); latitude; irrigated: False, True
    expected = [[0, 1, -10 / std, 0, 1], [1, 0, 0, 1, 0], [0, 1, 10 / std, 1, 0]]
    np.testing.assert_allclose(encoded, expected, rtol=1e-6)


def test_a_frame_a_list_and_one_dict_mean_the_same() -> None:
    encoding = fit_static(pd.DataFrame(TRAIN))
    assert encoding == fit_static(TRAIN)
    np.testing.assert_array_equal(encode_static(pd.DataFrame(TRAIN), encoding), encode_static(TRAIN, encoding))
    np.testing.assert_array_equal(encode_static(TRAIN[0], encoding), encode_static(TRAIN[:1], encoding))


def test_an_array_of_numbers_is_standardised_by_column() -> None:
    values = np.random.default_rng(0).normal(3, 5, size=(20, 2))
    encoded = encode_static(values, fit_static(values))
    np.testing.assert_allclose(encoded, (values - values.mean(0)) / values.std(0), rtol=1e-5, atol=1e-6)


def test_column_order_of_new_rows_does_not_matter() -> None:
    encoding = fit_static(TRAIN)
    turned = [dict(reversed(row.items())) for row in TRAIN]
    np.testing.assert_array_equal(encode_static(turned, encoding), encode_static(TRAIN, encoding))


def test_the_encoding_survives_json_with_sorted_keys() -> None:
    encoding = fit_static(TRAIN)
    reloaded = json.loads(json.dumps(encoding, sort_keys=True))
    assert [column["name"] for column in reloaded] == ["soil", "latitude", "irrigated"]
    np.testing.assert_array_equal(encode_static(TRAIN, reloaded), encode_static(TRAIN, encoding))


def test_an_unseen_category_is_all_zeros_and_warned_of() -> None:
    encoding = fit_static([{"soil": "loam"}, {"soil": "clay"}])
    with pytest.warns(UserWarning, match="'soil' has values never seen in training, .*: 'peat'"):
        encoded = encode_static([{"soil": "peat"}, {"soil": "clay"}], encoding)
    assert encoded.tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("constant", [0.0, 0.1, 41.3, -1e12])
def test_a_constant_column_is_not_divided_by_rounding_noise(constant: float) -> None:
    encoding = fit_static([{"latitude": constant}] * 97)
    assert encoding[0]["std"] == 1
    encoded = encode_static([{"latitude": constant + 2}], encoding)
    assert encoded.item() == pytest.approx(2, abs=1e-3)


def test_columns_that_were_not_fitted_are_left_alone() -> None:
    encoding = fit_static([{"soil": "loam"}, {"soil": "clay"}])
    assert encode_static([{"soil": "loam", "note": None}], encoding).tolist() == [[0, 1]]


def test_integer_column_names_are_found_again() -> None:
    frame = pd.DataFrame({0: [1.0, 3.0], 1: ["a", "b"]})
    assert encode_static(frame, fit_static(frame)).tolist() == [[-1, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    "rows",
    [
        [{"soil": "loam", "latitude": 1.0}, {"soil": None, "latitude": 2.0}],
        [{"soil": "loam", "latitude": 1.0}, {"latitude": 2.0}],
    ],
)
def test_missing_cells_raise_and_name_their_column(rows: list[dict]) -> None:
    with pytest.raises(ValueError, match=r"missing cells in \['soil'\]"):
        fit_static(rows)
    with pytest.raises(ValueError, match=r"missing cells in \['soil'\]"):
        encode_static(rows, fit_static([{"soil": "loam", "latitude": 1.0}]))


def test_faults_are_named() -> None:
    encoding = fit_static(TRAIN)
    with pytest.raises(ValueError, match="latitude"):
        encode_static([{"soil": "loam", "irrigated": True}], encoding)
    with pytest.raises(ValueError, match="'north' in row 1"):
        encode_static([TRAIN[0], {**TRAIN[1], "latitude": "north"}], encoding)
    with pytest.raises(ValueError, match="fitted without any"):
        encode_static(TRAIN, None)
    with pytest.raises(ValueError, match="empty"):
        fit_static(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="infinite"):
        fit_static([{"latitude": np.inf}, {"latitude": 1.0}])
    with pytest.raises(ValueError, match="shape"):
        fit_static(np.zeros(3))


@pytest.mark.parametrize("huge", [10**400, -(10**400)])
def test_whole_numbers_beyond_float64_are_named(huge: int) -> None:
    with pytest.raises(ValueError, match="beyond what float64 holds"):
        fit_static([{"depth": 1.0}, {"depth": huge}])
    with pytest.raises(ValueError, match="'depth' must hold numbers"):
        encode_static([{"depth": huge}], fit_static([{"depth": 1.0}, {"depth": 2.0}]))
