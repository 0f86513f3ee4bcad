"""Model cards: what the Hub reads from them, and that their example runs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from timesclip_hf import TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.model_card import RegressionRun, regression_card

METRICS = {"rmse": 0.71, "mae": 0.52, "r2": 0.934, "mape": 18.25}
STATIC = [{"soil": "sandy 'loam'", "latitude": 41.0}, {"soil": "clay", "latitude": 52.0}]


def make_run(**fields: Any) -> RegressionRun:
    defaults: dict[str, Any] = {
        "name": "timesclip-yield",
        "dataset_name": "Simulated crop yield",
        "dataset_id": "crop-yield",
        "target_name": "dry yield (t/ha)",
        "split": "each site's last years are the test part.",
        "sizes": {"train": 2000, "validation": 400, "test": 600},
        "metrics": METRICS,
        "hyperparameters": {"learning_rate": 1e-3, "preset": "full"},
        "environment": {"torch": "2.13.0", "device": "cpu"},
        "command": "python examples/run_regression.py --preset full --seed 0",
        "limits": ["Yields are simulated, not measured."],
        "license": "apache-2.0",
    }
    return RegressionRun(**{**defaults, **fields})


@pytest.fixture
def checkpoint(tiny_config: Any, tmp_path: Path) -> Any:
    """A folder with a model and a processor fitted with static columns, and both of them."""
    config = tiny_config()
    processor = TimesCLIPProcessor.from_config(config, variate_names=["ndvi", "nir", "red"])
    values = np.random.default_rng(0).normal(size=(2, 12, 3))
    config = processor.fit(values, labels=[2.0, 4.0], static_values=STATIC).complete_config(config)
    TimesCLIPForRegression(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path, config, processor


def test_the_hub_reads_the_metadata_back(checkpoint: Any) -> None:
    folder, config, processor = checkpoint
    regression_card(make_run(base_models=["openai/clip-vit-base-patch16"]), config, processor).save(
        folder / "README.md"
    )
    data = ModelCard.load(folder / "README.md").data
    assert data.library_name == "transformers" and data.license == "apache-2.0"
    assert {"time-series", "timesclip"} <= set(data.tags)
    assert data.base_model == ["openai/clip-vit-base-patch16"]
    assert data.model_name == "timesclip-yield"
    assert {result.metric_type: result.metric_value for result in data.eval_results} == METRICS
    for result in data.eval_results:
        assert (result.dataset_type, result.dataset_name) == ("crop-yield", "Simulated crop yield")
        assert (result.dataset_split, result.task_type) == ("test", "time-series-regression")


def test_people_read_results_data_inputs_command_and_limits(checkpoint: Any) -> None:
    _, config, processor = checkpoint
    text = regression_card(make_run(table="| model | R2 |\n|---|---|\n| ridge | .796 |"), config, processor).text
    for expected in (
        "| RMSE | 0.71 |",
        "| R2 | 0.934 |",
        "| MAPE (%) | 18.25 |",
        "| ridge | .796 |",
        "2000 train, 400 validation, 600 test",
        "each site's last years are the test part.",
        "vision and text branches",
        "random weights",
        "3 variates over 12 steps and predicts dry yield (t/ha)",
        "| learning_rate | 0.001 |",
        "| torch | 2.13.0 |",
        "```bash\npython examples/run_regression.py --preset full --seed 0\n```",
        "- Yields are simulated, not measured.",
        "| soil | clay, sandy 'loam' |",
        "arXiv:2506.24124",
    ):
        assert expected in text, expected
    mean, std = processor.statistics["variates"]["mean"][1], processor.statistics["variates"]["std"][1]
    assert f"| nir | {mean:.4g} | {std:.4g} |" in text


def test_towers_from_checkpoints_are_named(checkpoint: Any) -> None:
    _, config, processor = checkpoint
    text = regression_card(make_run(base_models=["openai/clip-vit-base-patch16"]), config, processor).text
    assert "towers from openai/clip-vit-base-patch16" in text and "random weights" not in text


def test_without_limits_or_peers_their_sections_are_left_out(checkpoint: Any) -> None:
    _, config, processor = checkpoint
    text = regression_card(make_run(limits=[]), config, processor).text
    assert "## Limits" not in text and "peers" not in text


def test_the_example_runs_as_printed(checkpoint: Any) -> None:
    folder, config, processor = checkpoint
    text = regression_card(make_run(), config, processor).text
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert code.count("path/or/hub-id") == 2
    code = code.replace("path/or/hub-id", str(folder))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("tensor([[")


def test_the_example_leaves_out_static_values_where_there_are_none(tiny_config: Any) -> None:
    config = tiny_config("text_only")
    processor = TimesCLIPProcessor.from_config(config).fit(np.random.default_rng(0).normal(size=(4, 12, 3)))
    text = regression_card(make_run(), config, processor).text
    assert "model(**processor(series)).predictions" in text and "static_values" not in text
    assert "its text branch," in text
