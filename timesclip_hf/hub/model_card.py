# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards: the README.md of a saved model, from facts about what was really run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.processing_timesclip import TimesCLIPProcessor

# A README.md without this line is somebody's own, and stays as it is.
_MARKER = "<!-- Written by timesclip_hf, anew at every save. Delete this line to keep changes of your own. -->"
_PLACE = "path/or/hub-id"
_BASE_PLACE = "path/or/hub-id-of-the-base"
_MAX_CURVE_ROWS = 12
# Tasks with a pipeline, and what it gives for one series.
_PIPELINES = {
    "regression": "a number for each target, in original units",
    "forecasting": "the steps that follow, (steps, variates), in original units",
    "classification": "the likeliest class and its probability",
}
_METRIC_NAMES = {
    "rmse": "RMSE", "mae": "MAE", "mse": "MSE", "r2": "R2", "mape": "MAPE (%)", "smape": "sMAPE (%)", "mase": "MASE",
    "owa": "OWA", "skill": "Skill against climatology", "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1", "log_loss": "Log loss (nats)",
    "image_to_text_top1": "Plots that find their own patches first",
    "text_to_image_top1": "Patches that find their own plots first",
}  # fmt: skip
_CITATION = """@article{timesclip2025,
  title = {Teaching Time Series to See and Speak: Forecasting with Aligned Visual and Textual Perspectives},
  journal = {arXiv preprint arXiv:2506.24124},
  year = {2025}
}"""


@dataclass
class CardFacts:
    """What a card reports of one model. What is not known is left empty, and the card does not speak of it.

    Args:
        model_name: of the model.
        task: `"regression"`, `"classification"`, `"forecasting"`, `"pre-training"` or `"embeds"`.
        model_class: name of the class that loads it.
        config: of the model.
        processor: as saved beside the model; None: none was.
        place: Hub id, or words that stand for it, in the example.
        towers: branch -> what tower it has, and where its weights come from.
        origin: one sentence: which weights training started from, where that was a whole model.
        base_models: Hub ids of the checkpoints that the weights come from.
        adapter: settings of the adapter that alone was saved, with `base`, the Hub id of the model that it belongs to
            (or None); None: a whole model was saved.
        measured: part of the data -> metric -> value; `"validation"` chose the epoch, `"test"` chose nothing.
        measured_in: unit of errors, in words.
        curve: rows of the training curve, column -> value; `step` tells them apart and is not shown.
        kept_step: the optimizer step whose weights were saved.
        kept_why: one sentence: which weights were saved.
        dataset: readable name of the data.
        dataset_tags: Hub ids of the data.
        split: how train, validation and test were cut, in one sentence.
        sizes: part -> number of samples.
        samples: what a sample is called (`"series"`, `"windows"`).
        hyperparameters: name -> value, those that differ from the defaults.
        environment: versions, device, time, by name.
        command: the line that reproduces the run.
        limits: what the reader must not conclude, one sentence each.
        license: of the model, as the Hub spells it (`"apache-2.0"`).
        language, tags: for the metadata, beside the tags that the task brings.
        table: a Markdown table of this model beside its peers, from the same run.
    """

    model_name: str
    task: str
    model_class: str
    config: TimesCLIPConfig
    processor: TimesCLIPProcessor | None = None
    place: str = _PLACE
    towers: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    base_models: Sequence[str] = ()
    adapter: Mapping[str, Any] | None = None
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    measured_in: str | None = None
    curve: Sequence[Mapping[str, float]] = ()
    kept_step: int | None = None
    kept_why: str | None = None
    dataset: str | None = None
    dataset_tags: str | Sequence[str] = ()
    split: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    samples: str = "series"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    limits: Sequence[str] = ()
    license: str | None = None
    language: str | Sequence[str] | None = None
    tags: str | Sequence[str] = ()
    table: str | None = None


def model_card(facts: CardFacts) -> ModelCard:
    """The README.md of a model: metadata that the Hub reads, and text for people.

    Args:
        facts: about the model and the run that made it.
    """
    sections = {
        "": _description(facts),
        "How to use": _usage(facts),
        "Results": _results(facts),
        "Data": _data(facts),
        "Inputs": _inputs(facts.processor),
        "Training": _training(facts),
        "Limits": "\n".join(f"- {limit}" for limit in facts.limits),
        "Citation": f"```bibtex\n{_CITATION}\n```",
    }
    body = [f"# {facts.model_name}"]
    for heading, text in sections.items():
        if text:
            body += [f"## {heading}", text] if heading else [text]
    return ModelCard(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{_MARKER}\n\n" + "\n\n".join(body) + "\n")


def is_own_card(path: str | Path) -> bool:
    """Whether a README.md may be written anew: there is none, or it was written by `model_card`."""
    path = Path(path)
    return not path.exists() or _MARKER in path.read_text(encoding="utf-8", errors="replace")


def _metadata(facts: CardFacts) -> ModelCardData:
    task = f"time-series-{facts.task}"
    tags = ["time-series", task, "timesclip", *(["lora"] if (facts.adapter or {}).get("type") == "LORA" else [])]
    given = [facts.tags] if isinstance(facts.tags, str) else facts.tags
    datasets = _as_list(facts.dataset_tags)
    name = facts.dataset or (datasets[0] if datasets else "unnamed data")
    return ModelCardData(
        library_name="peft" if facts.adapter else "transformers",
        pipeline_tag=task if facts.task == "forecasting" else None,
        language=facts.language,  # type: ignore[arg-type]
        license=facts.license,
        tags=[*tags, *(tag for tag in given if tag not in tags)],
        datasets=datasets or None,
        base_model=list(facts.base_models) or None,
        base_model_relation="adapter" if facts.adapter and facts.base_models else None,
        model_name=facts.model_name,
        eval_results=[
            EvalResult(
                task_type=task,
                task_name=f"Time series {facts.task}",
                dataset_type=datasets[0] if datasets else _slug(name),
                dataset_name=name,
                dataset_split=part,
                metric_type=metric,
                metric_name=_METRIC_NAMES.get(metric, metric),
                metric_value=float(value),
            )
            for part, metrics in facts.measured.items()
            for metric, value in metrics.items()
        ],
    )


def _description(facts: CardFacts) -> str:
    config = facts.config
    purpose = {
        "regression": f"predicts {_targets(facts)}",
        "classification": f"tells {config.num_labels} classes apart: {_listed([*(config.id2label or {}).values()])}",
        "forecasting": f"forecasts the next {config.prediction_length} steps of each",
        "pre-training": "was pre-trained without targets: its two branches recognise each other's reading of a series",
        "embeds": "gives an embed of each",
    }[facts.task]
    lines = [
        "TimesCLIP ([arXiv 2506.24124](https://arxiv.org/abs/2506.24124)). "
        f"It reads {config.num_variates} variate{'s' if config.num_variates > 1 else ''} over "
        f"{config.context_length} steps and {purpose}."
    ]
    if facts.adapter:
        base = f"`{facts.adapter['base']}`" if facts.adapter.get("base") else "a base model that is not on the Hub"
        lines.append(f"**This is an adapter** ({facts.adapter['type']}), not a whole model: it belongs to {base}.")
    if facts.origin:
        lines.append(facts.origin)
    lines += [f"- {branch} tower: {what}" for branch, what in facts.towers.items()]
    head, towers = lines[: len(lines) - len(facts.towers)], lines[len(lines) - len(facts.towers) :]
    return "\n\n".join([*head, "\n".join(towers)] if towers else head)


def _targets(facts: CardFacts) -> str:
    names = facts.processor.target_names if facts.processor is not None else None
    units = facts.processor.target_units if facts.processor is not None else None
    if names is None:
        count = facts.config.num_targets
        named = ["a number" if count == 1 else f"{count} numbers"]
        named = [f"{named[0]} in {_listed(sorted(set(units)))}"] if units and any(units) else named
    else:
        pairs = zip(names, units or [""] * len(names), strict=True)
        named = [f"{name} ({unit})" if unit else name for name, unit in pairs]
    return _listed(named)


def _usage(facts: CardFacts) -> str:
    """Code that runs as it is pasted, once the folder's path is put in."""
    processor = facts.processor
    if processor is None:
        code = _code([f"from timesclip_hf import {facts.model_class}", "", *_loading(facts), "print(model.config)"])
        return f"{code}\n\nNo processor was saved with this model: its inputs are made by its author's code."
    order = f": {_listed(processor.variate_names, quote=True)}" if processor.variate_names else ""
    variates = processor.num_variates or facts.config.num_variates
    series = [
        f"# Put yours here: (time, variates), in raw units, NaN = missing{order}",
        f"series = np.zeros(({processor.context_length}, {variates}))",
    ]
    static = (processor.statistics or {}).get("static") or []
    if static:
        rows = [f"    {_literal(column['name'])}: {_literal(_sample(column))}," for column in static]
        series += ["static = {", *rows, "}"]
    if facts.task in _PIPELINES and not facts.adapter:
        sample = '{"past_values": series, "static_values": static}' if static else "series"
        imports = [
            "import numpy as np",
            "from transformers import pipeline",
            "",
            "import timesclip_hf  # registers the pipeline",
        ]
        loading = [f'predict = pipeline("time-series-{facts.task}", model="{facts.place}")']
        return _code([*imports, "", *loading, *series, f"print(predict({sample}))  # {_PIPELINES[facts.task]}"])
    imports = ["import numpy as np", *(["from peft import PeftModel"] if facts.adapter else [])]
    imports += ["", f"from timesclip_hf import {facts.model_class}, TimesCLIPProcessor", ""]
    loading = [*_loading(facts), f'processor = TimesCLIPProcessor.from_pretrained("{facts.place}")']
    call = "processor(series, static_values=[static])" if static else "processor(series)"
    result = {"regression": "predictions", "forecasting": "predictions", "classification": "logits"}.get(facts.task)
    shown = f"outputs.{result}" if result else "outputs.image_embeds, outputs.text_embeds"
    return _code([*imports, *loading, *series, f"outputs = model(**{call})", f"print({shown})"])


def _loading(facts: CardFacts) -> list[str]:
    if not facts.adapter:
        return [f'model = {facts.model_class}.from_pretrained("{facts.place}")']
    base = facts.adapter.get("base") or _BASE_PLACE
    return [
        f'base = {facts.model_class}.from_pretrained("{base}")',
        f'model = PeftModel.from_pretrained(base, "{facts.place}").eval()',
    ]


def _results(facts: CardFacts) -> str:
    if not facts.measured:
        return "No figures were measured on these weights."
    parts = list(facts.measured)
    metrics = list(dict.fromkeys(metric for values in facts.measured.values() for metric in values))
    rows = [
        [_METRIC_NAMES.get(m, m), *(f"{facts.measured[p][m]:.4g}" if m in facts.measured[p] else "" for p in parts)]
        for m in metrics
    ]
    lines = [_table(["metric", *parts], rows)]
    if facts.measured_in:
        lines.append(f"Errors are in {facts.measured_in}.")
    if all(part.startswith("validation") for part in parts):
        lines.append("No figures of a test part are reported.")
    if facts.table:
        lines += ["Beside its peers, all from the same split:", facts.table]
    return "\n\n".join(lines)


def _data(facts: CardFacts) -> str:
    names = [facts.dataset, *(f"[{tag}](https://hf.co/datasets/{tag})" for tag in _as_list(facts.dataset_tags))]
    named = ", ".join(name for name in names if name)
    sizes = ", ".join(f"{count} {part}" for part, count in facts.sizes.items())
    counted = f"{sizes} {facts.samples}" if sizes else ""
    sentences = [": ".join(text for text in (named, counted) if text), f"Split: {facts.split}" if facts.split else ""]
    return ". ".join(sentence for sentence in sentences if sentence)


def _inputs(processor: TimesCLIPProcessor | None) -> str:
    if processor is None:
        return ""
    learnt = processor.statistics or {}
    scaling = {
        "dataset": "each variate by its mean and spread in the training part",
        "instance": "each series by its own mean and spread",
        "none": "none, raw units",
    }[processor.scaling]
    gaps = "." if processor.image_size is None else " and left as gaps in the plots."
    plots = (
        f" View `{processor.view}`, the plots' value axis `{processor.value_range}`." if processor.image_size else ""
    )
    lines = [
        f"Scaling `{processor.scaling}`: {scaling}. Missing steps are interpolated for the patches{gaps}{plots}",
        "What the processor learnt from the training part:" if learnt else "The processor was not fitted on data.",
    ]
    count = processor.num_variates or 0
    names = processor.variate_names or [str(i) for i in range(count)]
    lines.append(_statistics_table("variate", names, processor.variate_units, learnt.get("variates")))
    static = learnt.get("static") or []
    if static:
        rows = [
            [
                column["name"],
                ", ".join(map(str, column["categories"]))
                if "categories" in column
                else f"mean {column['mean']:.4g}, std {column['std']:.4g}",
            ]
            for column in static
        ]
        lines.append(_table(["static column", "values"], rows))
    targets = learnt.get("targets")
    if targets:
        names = processor.target_names or [str(i) for i in range(len(targets["mean"]))]
        lines.append(_statistics_table("target", names, processor.target_units, targets))
    return "\n\n".join(line for line in lines if line)


def _statistics_table(
    what: str, names: Sequence[str], units: Sequence[str] | None, statistics: Mapping[str, Sequence[float]] | None
) -> str:
    """One row for each variate or target; without statistics only where names or units say anything."""
    keys = [key for key in ("mean", "std", "minimum", "maximum") if key in (statistics or {})]
    rows = [
        [name, *([units[i]] if units else []), *(f"{(statistics or {})[key][i]:.4g}" for key in keys)]
        for i, name in enumerate(names)
    ]
    return _table([what, *(["unit"] if units else []), *keys], rows) if rows else ""


def _training(facts: CardFacts) -> str:
    parts = [facts.kept_why or ""]
    if facts.curve:
        parts.append(_curve_table(facts.curve, facts.kept_step))
    settings = {
        **facts.hyperparameters,
        **{f"adapter {k}": v for k, v in (facts.adapter or {}).items() if k != "base"},
    }
    if settings:
        parts.append("Settings, those left out being the defaults:")
        parts.append(_table(["setting", "value"], [[name, str(value)] for name, value in settings.items()]))
    if facts.command:
        parts.append(f"Reproduced by\n\n```bash\n{facts.command}\n```")
    if facts.environment:
        parts.append(_table(["environment", ""], [[name, str(value)] for name, value in facts.environment.items()]))
    return "\n\n".join(part for part in parts if part)


def _curve_table(curve: Sequence[Mapping[str, float]], kept_step: int | None) -> str:
    """The rows, thinned where there are many: the first, the last and the kept one stay."""
    wanted = {round(i * (len(curve) - 1) / (_MAX_CURVE_ROWS - 1)) for i in range(_MAX_CURVE_ROWS)}
    kept = {number for number, row in enumerate(curve) if row["step"] == kept_step}
    columns = list(dict.fromkeys(name for row in curve for name in row if name != "step"))
    columns.sort(key=lambda name: name.startswith("validation"))  # the start has no training loss
    rows = [
        [*(f"{row[c]:.4g}" if c in row else "" for c in columns), "saved" if number in kept else ""]
        for number, row in enumerate(curve)
        if number in wanted | kept
    ]
    return _table([*columns, ""], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _code(lines: Sequence[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"


def _sample(column: Mapping[str, Any]) -> Any:
    return column["categories"][0] if "categories" in column else round(column["mean"], 1)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _listed(names: Sequence[Any], quote: bool = False, most: int = 12) -> str:
    shown = [repr(name) if quote else " ".join(str(name).split()) for name in names[:most]]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) or "unnamed"


__all__ = ["CardFacts", "is_own_card", "model_card"]
