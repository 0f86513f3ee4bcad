# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Starting is cheap, and transformers knows our classes all the same, whatever is imported first."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "numpy", "pandas", "datasets", "matplotlib", "sklearn", "huggingface_hub")


def python(code: str, *words: str) -> str:
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "start",
    [
        "import timesclip_hf",
        "import timesclip_hf; dir(timesclip_hf)",
        "from timesclip_hf.cli import main; main(['--version'])",
        "from timesclip_hf.cli import main; main(['--help'])",
    ],
)
def test_starting_loads_no_library(start: str) -> None:
    report = f"import atexit, sys; atexit.register(lambda: print('loaded:', [n for n in {HEAVY} if n in sys.modules]))"
    assert python(f"{report}\n{start}").strip().endswith("loaded: []")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "import timesclip_hf\nfrom transformers import pipeline\n"
            "loaded = pipeline('time-series-forecasting', model='tests/saved/prediction')",
            "TimeSeriesForecastingPipeline",
        ),
        (
            "import transformers.pipelines\nimport timesclip_hf\n"
            "loaded = transformers.pipeline('time-series-regression', model='tests/saved/regression')",
            "TimeSeriesRegressionPipeline",
        ),
        (
            "import timesclip_hf\nfrom transformers import AutoProcessor\n"
            "loaded = AutoProcessor.from_pretrained('tests/saved/regression')",
            "TimesCLIPProcessor",
        ),
        (  # modules of ours that load transformers' registries while they are loaded themselves
            "from timesclip_hf.model.configuration_timesclip import TimesCLIPConfig\nimport transformers\n"
            "loaded = transformers.AutoModelForTimeSeriesPrediction.from_pretrained('tests/saved/prediction')\n"
            "assert type(transformers.AutoConfig.from_pretrained('tests/saved/regression')) is TimesCLIPConfig",
            "TimesCLIPForPrediction",
        ),
        (  # a module of transformers that loads a registry while it is loaded itself
            "import timesclip_hf, transformers.trainer\n"
            "loaded = transformers.AutoModel.from_pretrained('tests/saved/classification')",
            "TimesCLIPForClassification",
        ),
    ],
)
def test_transformers_knows_our_classes_whatever_is_imported_first(code: str, expected: str) -> None:
    assert python(f"{code}\nprint(type(loaded).__name__)").strip() == expected
