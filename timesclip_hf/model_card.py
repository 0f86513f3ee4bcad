# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards written from what was really run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .configuration_timesclip import TimesCLIPConfig
from .processing_timesclip import TimesCLIPProcessor

_METRIC_NAMES = {"rmse": "RMSE", "mae": "MAE", "r2": "R2", "mape": "MAPE (%)", "skill": "Skill against climatology"}

_CITATION = """@article{timesclip2025,
  title = {Teaching Time Series to See and Speak: Forecasting with Aligned Visual and Textual Perspectives},
  journal = {arXiv preprint arXiv:2506.24124},
  year = {2025}
}"""


@dataclass
class RegressionRun:
    """What a card reports of one trained model.

    Args:
        name: of the model.
        dataset_name: readable name of the data.
        dataset_id: short id of the data, letters, digits, `-` and `_`.
        target_name: predicted quantity with its unit.
        split: how train, validation and test were cut, in one sentence.
        sizes: number of series in each part.
        metrics: on the test part, in original units; keys as in `metrics.regression_metrics`.
        hyperparameters: those worth knowing, by name.
        environment: versions and device, by name.
        command: the line that reproduces the run.
        limits: what the reader must not conclude, one sentence each.
        base_models: Hub ids of the towers; empty where they started from random weights.
        license: of the checkpoint, as the Hub spells it (`"apache-2.0"`).
        table: a Markdown table of this model beside its peers, from the same run.
    """

    name: str
    dataset_name: str
    dataset_id: str
    target_name: str
    split: str
    sizes: Mapping[str, int]
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, Any]
    environment: Mapping[str, str]
    command: str
    limits: list[str] = field(default_factory=list)
    base_models: list[str] = field(default_factory=list)
    license: str | None = None
    table: str | None = None


def regression_card(run: RegressionRun, config: TimesCLIPConfig, processor: TimesCLIPProcessor) -> ModelCard:
    """The README.md of a checkpoint: metadata that the Hub reads, and text for people.

    Args:
        run: what was run and measured.
        config: the trained model's configuration.
        processor: the fitted processor saved beside it.
    """
    data = ModelCardData(
        library_name="transformers",
        license=run.license,
        tags=["time-series", "time-series-regression", "timesclip"],
        base_model=run.base_models or None,
        model_name=run.name,
        eval_results=[
            EvalResult(
                task_type="time-series-regression",
                task_name="Time series regression",
                dataset_type=run.dataset_id,
                dataset_name=run.dataset_name,
                dataset_split="test",
                metric_type=key,
                metric_name=_METRIC_NAMES.get(key, key),
                metric_value=float(value),
            )
            for key, value in run.metrics.items()
        ],
    )
    sections = [
        f"# {run.name}",
        _description(run, config),
        "## How to use",
        _usage(processor),
        "## Results on the test part",
        _markdown_table(["metric", "value"], [[_METRIC_NAMES.get(k, k), f"{v:.4g}"] for k, v in run.metrics.items()]),
        *(["Beside its peers, all from the same split:", run.table] if run.table else []),
        "## Data",
        _data_section(run),
        "## Inputs",
        _inputs_section(processor),
        "## Training",
        _markdown_table(["setting", "value"], [[k, str(v)] for k, v in run.hyperparameters.items()]),
        f"Reproduced by\n\n```bash\n{run.command}\n```",
        _markdown_table(["environment", ""], [[k, v] for k, v in run.environment.items()]),
        *(["## Limits", "\n".join(f"- {limit}" for limit in run.limits)] if run.limits else []),
        "## Citation",
        f"```bibtex\n{_CITATION}\n```",
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _description(run: RegressionRun, config: TimesCLIPConfig) -> str:
    branches = [name for name, part in (("vision", config.vision_config), ("text", config.text_config)) if part]
    origin = f"towers from {', '.join(run.base_models)}" if run.base_models else "towers trained from random weights"
    return (
        f"TimesCLIP ([arXiv 2506.24124](https://arxiv.org/abs/2506.24124)) with its {' and '.join(branches)} branch"
        f"{'es' if len(branches) > 1 else ''}, {origin}. It reads {config.num_variates} variates over "
        f"{config.context_length} steps and predicts {run.target_name}."
    )


def _usage(processor: TimesCLIPProcessor) -> str:
    static = (processor.statistics or {}).get("static") or []
    sample = ", ".join(
        f"{c['name']!r}: {(c['categories'][0] if 'categories' in c else round(c['mean'], 1))!r}" for c in static
    )
    call = f"processor(series, static_values=[{{{sample}}}])" if static else "processor(series)"
    return (
        "```python\n"
        "import numpy as np\n"
        "from timesclip_hf import TimesCLIPForRegression, TimesCLIPProcessor\n\n"
        'model = TimesCLIPForRegression.from_pretrained("path/or/hub-id").eval()\n'
        'processor = TimesCLIPProcessor.from_pretrained("path/or/hub-id")\n'
        f"series = np.zeros((1, {processor.context_length}, {processor.num_variates}))  "
        "# yours: (batch, time, variates), raw units, NaN = missing\n"
        f"print(model(**{call}).predictions)  # in original units\n"
        "```"
    )


def _data_section(run: RegressionRun) -> str:
    sizes = ", ".join(f"{count} {part}" for part, count in run.sizes.items())
    return f"{run.dataset_name}: {sizes}. Split: {run.split}"


def _inputs_section(processor: TimesCLIPProcessor) -> str:
    statistics = (processor.statistics or {}).get("variates")
    names = processor.variate_names or [str(i) for i in range(processor.num_variates or 0)]
    lines = [
        f"Scaling `{processor.scaling}`, plots' value axis `{processor.value_range}`, missing steps interpolated for "
        "patches and left as gaps in plots. What the processor learnt from the training part:"
    ]
    if statistics:
        keys = ("mean", "std", "minimum", "maximum")
        rows = [[name, *(f"{statistics[key][i]:.4g}" for key in keys)] for i, name in enumerate(names)]
        lines.append(_markdown_table(["variate", *keys], rows))
    static = (processor.statistics or {}).get("static") or []
    if static:
        rows = [
            [
                c["name"],
                ", ".join(c["categories"]) if "categories" in c else f"mean {c['mean']:.4g}, std {c['std']:.4g}",
            ]
            for c in static
        ]
        lines.append(_markdown_table(["static column", "values"], rows))
    return "\n\n".join(lines)


def _markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


__all__ = ["RegressionRun", "regression_card"]
