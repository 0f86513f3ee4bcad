"""Training arguments: their defaults, and that command lines reach them."""

from pathlib import Path

import numpy as np
import pytest
from transformers import HfArgumentParser, TrainingArguments

from timesclip_hf import TimesCLIPTrainingArguments
from timesclip_hf.training import training_args


def test_defaults_choose_the_best_epoch_by_the_models_own_task(tmp_path: Path) -> None:
    args = TimesCLIPTrainingArguments(output_dir=str(tmp_path))
    assert args.load_best_model_at_end and args.metric_for_best_model == "task" and args.greater_is_better is None
    assert args.eval_strategy == args.save_strategy == args.logging_strategy == "epoch"
    assert args.remove_unused_columns is False and args.label_names == ["labels"]
    assert args.tower_learning_rate is None and args.early_stopping_patience is None
    assert args.lr_scheduler_type == "cosine" and args.warmup_steps == 0.05
    assert isinstance(args, TrainingArguments)


@pytest.mark.parametrize(("installed", "expected"), [(True, ["tensorboard"]), (False, [])])
def test_tensorboard_is_the_default_only_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, expected: list[str]
) -> None:
    found = object() if installed else None
    monkeypatch.setattr(training_args.importlib.util, "find_spec", lambda name: found)
    assert training_args._installed_reporters() == expected
    monkeypatch.undo()
    assert TimesCLIPTrainingArguments(output_dir=str(tmp_path), report_to="none").report_to == []


def test_a_command_line_sets_what_it_names_and_keeps_our_defaults(tmp_path: Path) -> None:
    line = ["--output_dir", str(tmp_path), "--tower_learning_rate", "1e-6", "--early_stopping_patience", "3"]
    line += ["--num_train_epochs", "2", "--report_to", "none"]
    (args,) = HfArgumentParser(TimesCLIPTrainingArguments).parse_args_into_dataclasses(line)
    assert (args.tower_learning_rate, args.early_stopping_patience, args.num_train_epochs) == (1e-6, 3, 2)
    assert args.metric_for_best_model == "task" and args.load_best_model_at_end
    assert args.remove_unused_columns is False and args.report_to == []


def test_a_command_line_can_switch_defaults_off(tmp_path: Path) -> None:
    line = ["--output_dir", str(tmp_path), "--load_best_model_at_end", "False", "--eval_strategy", "no"]
    (args,) = HfArgumentParser(TimesCLIPTrainingArguments).parse_args_into_dataclasses(line)
    assert not args.load_best_model_at_end and args.eval_strategy == "no"


def test_arguments_survive_json(tmp_path: Path) -> None:
    args = TimesCLIPTrainingArguments(output_dir=str(tmp_path), tower_learning_rate=2e-6, report_to="none")
    (tmp_path / "args.json").write_text(args.to_json_string())
    (reloaded,) = HfArgumentParser(TimesCLIPTrainingArguments).parse_json_file(
        tmp_path / "args.json", allow_extra_keys=True
    )
    assert reloaded.tower_learning_rate == 2e-6 and reloaded.eval_strategy == args.eval_strategy


def test_numbers_of_numpy_are_pythons(tmp_path):
    given = {"num_train_epochs": np.int64(2), "learning_rate": np.float32(0.5), "seed": np.int32(3)}
    arguments = TimesCLIPTrainingArguments(str(tmp_path), per_device_train_batch_size=np.uint8(4), **given)
    assert [type(getattr(arguments, name)) for name in given] == [int, float, int]
    assert arguments.train_batch_size == 4 and '"seed": 3' in arguments.to_json_string()
