# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards: the README.md of a saved model. What they say stands in `model_card_template.md` beside this file."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import yaml_dump
from jinja2 import Environment, Template
from markupsafe import Markup

from .. import escaping
from ..model.processing_timesclip import TimesCLIPProcessor
from .facts import CardFacts

_TEMPLATE = Path(__file__).with_name("model_card_template.md")
# A README.md without this line is somebody's own, and stays as it is.
_MARKER = "<!-- Written by timesclip_hf, anew at every save. Delete this line to keep changes of your own. -->"
_MAX_CURVE_ROWS = 12
# Tasks that the Hub sorts models by; of time series it knows one.
_HUB_TASKS = ("time-series-forecasting",)
_METRIC_NAMES = {
    "rmse": "RMSE", "mae": "MAE", "mse": "MSE", "r2": "R2", "mape": "MAPE (%)", "smape": "sMAPE (%)", "mase": "MASE",
    "owa": "OWA", "skill": "Skill against climatology", "accuracy": "Accuracy",
    "coverage_90": "Share in 90 % intervals", "width_90": "Width of 90 % intervals",
    "interval_score_90": "Score of 90 % intervals", "set_size_90": "Classes in 90 % sets",
    "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1", "log_loss": "Log loss (nats)",
    "image_to_text_top1": "Plots that find their own patches first",
    "text_to_image_top1": "Patches that find their own plots first",
}  # fmt: skip


def model_card(facts: CardFacts) -> ModelCard:
    """The README.md of a model: metadata that the Hub reads, and text for people.

    Facts are text: a tag, link or heading in one of them, or a new line, is shown and is none. Only `facts.table` is
    read as Markdown, as far as it is a table.

    Args:
        facts: about the model and the run that made it.
    """
    config, task = facts.config, facts.model_class.task
    metrics = dict.fromkeys(metric for values in facts.measured.values() for metric in values)
    adapter = {f"adapter {name}": value for name, value in (facts.adapter or {}).items() if name != "base"}
    data = [escaping.markdown(facts.dataset)] if facts.dataset else []
    data += [escaping.hub_link(tag, "datasets/") for tag in _as_list(facts.dataset_tags)]
    content = _template().render(
        card_data=Markup(yaml_dump(_shown(_metadata(facts).to_dict()), sort_keys=False).strip()),
        marker=Markup(_MARKER),
        facts=facts,
        config=config,
        adapter=facts.adapter,
        task=task,
        class_name=facts.model_class.__name__,
        purpose=task.purpose.format(
            targets=_targets(facts),
            num_labels=config.num_labels,
            classes=_listed([*(config.id2label or {}).values()]),
            prediction_length=config.prediction_length,
        ),
        results=[
            [_metric_name(metric, facts), *(values.get(metric, "") for values in facts.measured.values())]
            for metric in metrics
        ],
        only_validation=all(part.startswith("validation") for part in facts.measured),
        data=Markup(", ".join(data)),
        curve=_curve(facts.curve, facts.kept.get("step")),
        settings=[[name, str(value)] for name, value in {**facts.hyperparameters, **adapter}.items()],
        environment=[[name, str(value)] for name, value in facts.environment.items()],
        **_inputs(facts.processor),
    )
    return ModelCard(content)


@functools.cache
def _template() -> Template:
    """The template; what it prints is escaped as Markdown, unless a filter escaped it for another place."""
    environment = Environment(
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escaping.markdown(value)),
    )
    for name in ("code_span", "fenced", "hub_link", "literal", "markdown_table", "one_line"):
        escape = getattr(escaping, name)
        environment.filters[name] = lambda *given, escape=escape: Markup(escape(*given))
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def is_own_card(path: str | Path) -> bool:
    """Whether a README.md may be written anew: there is none, or it was written by `model_card`; links are not."""
    path = Path(path)
    if path.is_symlink():
        return False
    return not path.exists() or _MARKER in path.read_text(encoding="utf-8", errors="replace")


def _metadata(facts: CardFacts) -> ModelCardData:
    name = facts.model_class.task.name
    task = f"time-series-{name}"
    tags = ["time-series", task, "timesclip", *(["lora"] if (facts.adapter or {}).get("type") == "LORA" else [])]
    datasets = _as_list(facts.dataset_tags)
    dataset = facts.dataset or (datasets[0] if datasets else "unnamed data")
    return ModelCardData(
        library_name="peft" if facts.adapter else "transformers",
        pipeline_tag=task if task in _HUB_TASKS else None,
        language=facts.language,  # type: ignore[arg-type]
        license=facts.license,
        tags=list(dict.fromkeys([*tags, *_as_list(facts.tags)])),
        datasets=datasets or None,
        base_model=list(facts.base_models) or None,
        base_model_relation="adapter" if facts.adapter and facts.base_models else None,
        model_name=facts.model_name,
        eval_results=[
            EvalResult(
                task_type=task,
                task_name=f"Time series {name}",
                dataset_type=datasets[0] if datasets else _slug(dataset),
                dataset_name=dataset,
                dataset_split=part,
                metric_type=metric,
                metric_name=_metric_name(metric, facts),
                metric_value=float(value),
            )
            for part, metrics in facts.measured.items()
            for metric, value in metrics.items()
        ],
    )


def _metric_name(metric: str, facts: CardFacts) -> str:
    """What people call a metric; of one of several targets, with its name and unit."""
    names, units = getattr(facts.processor, "target_names", None), getattr(facts.processor, "target_units", None)
    if metric in _METRIC_NAMES or facts.config.num_targets == 1:
        return _METRIC_NAMES.get(metric, metric)
    names = names or [f"target_{k}" for k in range(facts.config.num_targets)]
    for name, unit in zip(names, units or [""] * len(names), strict=True):
        own = metric.removeprefix(f"{name}_")
        if own != metric and own in _METRIC_NAMES:
            return f"{_METRIC_NAMES[own]} of {escaping.with_unit(name, unit if own in ('rmse', 'mae') else '')}"
    return metric


def _shown(data: Any) -> Any:
    """Metadata whose texts are visible lines; YAML's own marks in them are quoted by its library."""
    if isinstance(data, dict):
        return {name: _shown(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_shown(value) for value in data]
    return escaping.one_line(data) if isinstance(data, str) else data


def _targets(facts: CardFacts) -> str:
    names = facts.processor.target_names if facts.processor is not None else None
    units = (facts.processor.target_units if facts.processor is not None else None) or []
    if names is not None:
        pairs = zip(names, units or [""] * len(names), strict=True)
        return _listed([escaping.with_unit(name, unit) for name, unit in pairs])
    count = facts.config.num_targets
    number = "a number" if count == 1 else f"{count} numbers"
    return f"{number} in {_listed(sorted(set(units)))}" if any(units) else number


def _inputs(processor: TimesCLIPProcessor | None) -> dict[str, Any]:
    """What the template says of the processor: its tables as columns and rows, static columns with an example."""
    if processor is None:
        return {"processor": None}
    learnt = processor.statistics or {}
    static = learnt.get("static") or []
    examples = [column["categories"][0] if "categories" in column else round(column["mean"], 1) for column in static]
    variates = processor.variate_names or [str(i) for i in range(processor.num_variates or 0)]
    targets = learnt.get("targets") or {"mean": []}
    numbers = [str(i) for i in range(len(targets["mean"]))]  # none where no targets were learnt
    target_names = processor.target_names if processor.target_names and numbers else numbers
    return {
        "processor": processor,
        "variate_order": _listed([escaping.literal(name) for name in processor.variate_names or []]),
        "static": static,
        "static_example": [(c["name"], value) for c, value in zip(static, examples, strict=True)],
        "variates": _statistics("variate", variates, processor.variate_units, learnt.get("variates") or {}),
        "targets": _statistics("target", target_names, processor.target_units, targets),
    }


def _statistics(
    what: str, names: Sequence[str], units: Sequence[str] | None, statistics: Mapping[str, Sequence[float]]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: one row for each variate or target."""
    columns: dict[str, Sequence[Any]] = {what: names, **({"unit": units} if units else {})}
    columns |= {key: statistics[key] for key in ("mean", "std", "minimum", "maximum") if key in statistics}
    return [*columns], [[values[row] for values in columns.values()] for row in range(len(names))]


def _curve(curve: Sequence[Mapping[str, float]], kept_step: int | None) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows, thinned where there are many: the first, the last and the kept one stay."""
    wanted = {round(i * (len(curve) - 1) / (_MAX_CURVE_ROWS - 1)) for i in range(_MAX_CURVE_ROWS)}
    columns = list(dict.fromkeys(name for row in curve for name in row if name != "step"))
    columns.sort(key=lambda name: name.startswith("validation"))  # the start has no training loss
    rows = [
        [*(row.get(column, "") for column in columns), "saved" if row["step"] == kept_step else ""]
        for number, row in enumerate(curve)
        if number in wanted or row["step"] == kept_step
    ]
    return [*columns, ""], rows


def _listed(names: Sequence[Any], most: int = 12) -> str:
    shown = [str(name) for name in names[:most]]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) or "unnamed"


__all__ = ["is_own_card", "model_card"]
