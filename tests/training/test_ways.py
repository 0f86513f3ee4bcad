# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which model for how many series, and for how long."""

import pytest

from timesclip_hf import PRESETS
from timesclip_hf.training.ways import choose_way, patches, schedule


@pytest.mark.parametrize(
    ("count", "batch", "epochs"), [(196, 32, 200), (400, 32, 116), (2034, 64, 47), (10**5, 64, 10)]
)
def test_few_series_are_read_more_often(count: int, batch: int, epochs: int) -> None:
    """1 500 updates: 7 an epoch make 215 epochs, of which 200 are the most; 13 make 116; 32 make 47."""
    way = choose_way(count, "regression", preset="late")
    assert way.training["per_device_train_batch_size"] == batch
    plan = schedule(count, batch)
    assert epochs <= plan["num_train_epochs"] <= epochs + 4  # whole looks at the validation part


def test_parts_of_series_are_learnt_for_twice_as_long() -> None:
    assert schedule(2034, 64, partial=True)["num_train_epochs"] == pytest.approx(94, abs=3)  # 3 000 updates of 32 each
    assert schedule(2034, 64, 5, partial=True)["num_train_epochs"] == 5


@pytest.mark.parametrize("epochs", [1, 7, 40, 41, 200])
def test_validation_is_looked_at_at_most_forty_times_and_at_the_end(epochs: int) -> None:
    plan = schedule(100, 32, epochs)
    looks = plan["num_train_epochs"] * 4 / plan["eval_steps"]  # 4 updates an epoch
    assert looks == int(looks) and looks <= 40 and plan["eval_steps"] == plan["save_steps"]


def test_a_preset_that_is_asked_for_is_taken_and_an_unknown_one_named() -> None:
    assert choose_way(50, "regression", preset="full").preset == "full"
    with pytest.raises(ValueError, match="choose auto or one of"):
        choose_way(50, "regression", preset="ful")


def test_a_checkpoint_for_the_plots_asks_for_a_model_that_sees_them() -> None:
    way = choose_way(5000, "regression", pretrained=True)
    assert PRESETS[way.preset].get("vision_config", "there") == "there"
    assert way.training["tower_learning_rate"] < way.training["learning_rate"]


@pytest.mark.parametrize("how", ["pretrained", "taught"])
def test_the_head_learns_first_where_towers_know_something(how: str) -> None:
    way, plain = choose_way(5000, "regression", **{how: True}), choose_way(5000, "regression", taught=False)
    assert way.training["head_epochs"] > 0 and way.training["eval_on_start"]
    assert way.training["learning_rate"] < plain.training["learning_rate"]
    assert not {"head_epochs", "eval_on_start"} & {
        *plain.training,
        *choose_way(500, "forecasting", taught=True).training,
    }


def test_heads_read_towers_that_know_series_themselves() -> None:
    way = choose_way(5000, "classification", taught=True)
    assert (way.preset, way.config["head_reads"], way.config["variate_selection"]) == ("late", "features", None)
    assert not choose_way(5000, "classification", pretrained=True).config


def test_many_labels_start_from_the_towers_that_ship_unless_somebody_says_others() -> None:
    way = choose_way(5000, "regression")
    assert (way.towers, way.config["head_reads"]) == ("timesclip-small", "features") and way.training["head_epochs"]
    for other in (
        choose_way(5000, "regression", taught=False),
        choose_way(5000, "regression", pretrained=True),
        choose_way(5000, "regression", partial=True),
        choose_way(5000, "regression", preset="full"),
        choose_way(5000, "forecasting"),
    ):
        assert other.towers == "tiny"
    assert "head_epochs" not in choose_way(5000, "regression", taught=False).training


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 12, 24, 36, 96, 500])
def test_patches_fit_into_the_series(steps: int) -> None:
    sizes = patches(steps)
    assert 1 <= sizes["patch_stride"] <= sizes["patch_length"] <= min(steps, 16)


def test_few_labels_are_learnt_by_heads_in_closed_form_and_parts_of_series_too() -> None:
    assert (few := choose_way(196, "classification")).kind == "heads" and "196" in few.reason
    assert choose_way(2034, "regression").kind == "network"
    assert choose_way(196, "regression", partial=True).kind == "heads"
    assert choose_way(2034, "regression", partial=True).kind == "heads"
    assert choose_way(20_000, "regression", partial=True).kind == "network"
