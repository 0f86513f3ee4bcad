# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Facts for the model card, read off a trainer: what was trained from what, on what, how, and what was measured."""

import importlib.metadata
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from transformers.trainer_utils import unwrap_peft_model

from ..data.windows import ForecastWindows
from ..environment import environment
from ..escaping import is_hub_id
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.modeling_timesclip import TimesCLIPModel, TimesCLIPPreTrainedModel
from ..model.modeling_timesclip import __all__ as MODEL_CLASSES
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.tasks import Task
from ..model.tower_configs import checkpoint_folder

# Evaluations report these beside their metrics.
_NO_METRICS = {
    "loss", "alignment_loss", "runtime", "samples_per_second", "steps_per_second", "jit_compilation_time",
    "model_preparation_time", "epoch", "step", "samples", "num_input_tokens_seen",
}  # fmt: skip
# Arguments that say where and how something is written, loaded or shown, not what is learnt; and secrets.
_NO_SETTINGS = re.compile(
    r"output_dir|.*_token|(hub|push|log|logging|report|dataloader|ddp|fsdp|save|trackio|do|include|skip|use|debug|"
    r"disable|run|project|local|remove|resume|restore|ignore|deepspeed|accelerator|parallelism|length|prediction|"
    r"batch_eval|greater|enable|label_names|feature_cache|per_device_eval|torch_empty|auto_find|average_tokens)(_.*)?|"
    r"eval_(?!on_start).*"
)
_ALWAYS_SHOWN = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "seed")
# Fields of the configuration that the card shows elsewhere.
_SHOWN_ELSEWHERE = {
    "vision_config", "text_config", "variate_mean", "variate_std", "target_mean", "target_std", "num_variates",
    "context_length", "vision_chunk_size", "text_chunk_size", "calibration",
}  # fmt: skip


@dataclass
class CardFacts:
    """What a card reports of one model. What is not known is left empty, and the card does not speak of it."""

    model_name: str
    model_class: type[TimesCLIPPreTrainedModel]  # loads it, and has its task
    config: TimesCLIPConfig
    processor: TimesCLIPProcessor | None = None  # as saved beside the model; None: none was
    place: str = "path/or/hub-id"  # Hub id, or words that stand for it, in the example
    # Branch -> `type`, `frozen`, and where its weights come from: `source` (see `_source`), or else `pretrained`.
    towers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: Mapping[str, Any] | None = None  # the whole model that training started from, as `_source` has it
    base_models: Sequence[str] = ()  # Hub ids of the checkpoints that the weights come from
    # Settings of the adapter that alone was saved, with `base`, the Hub id of the model that it belongs to (or None);
    # None: a whole model was saved.
    adapter: Mapping[str, Any] | None = None
    # Part of the data -> metric -> value; "validation" chose the epoch, "test" chose nothing.
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    measured_in: str | None = None  # unit of errors, in words
    curve: Sequence[Mapping[str, float]] = ()  # column -> value; `step` tells rows apart and is not shown
    # Which weights were saved: `trained` ones; of which `step` and `epoch`, `averaged_over` how many epochs, `best_by`
    # which metric (None: the last ones), and whether training was `still_going_on`; or how heads were fitted in
    # `closed_form`.
    kept: Mapping[str, Any] = field(default_factory=dict)
    dataset: str | None = None  # readable name of the data
    dataset_tags: str | Sequence[str] = ()  # Hub ids of the data
    split: str | None = None  # how train, validation and test were cut, in one sentence
    sizes: Mapping[str, int] = field(default_factory=dict)  # part -> number of samples
    samples: str = "series"  # what a sample is called (or "windows")
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)  # those that differ from the defaults
    environment: Mapping[str, Any] = field(default_factory=dict)  # versions, device, time, by name
    command: str | None = None  # the line that reproduces the run
    limits: Sequence[str] = ()  # what else the reader must not conclude, one sentence each
    license: str | None = None  # of the model, as the Hub spells it ("apache-2.0")
    language: str | Sequence[str] | None = None
    tags: str | Sequence[str] = ()  # beside those that the task brings
    table: str | None = None  # a Markdown table of this model beside its peers, from the same run


@dataclass
class Measurement:
    """Metrics of one evaluation after training, and how many samples they were taken on (None: unknown)."""

    metrics: Mapping[str, float]
    count: int | None


def collect_facts(trainer: Any, measurements: Mapping[str, Measurement] | None = None) -> CardFacts:
    """What a trainer knows of the model that it would save now.

    Args:
        trainer: a `TimesCLIPTrainer`, before, during or after training.
        measurements: part of the data -> what was measured on it with the present weights, after training.
    """
    model = unwrap_peft_model(trainer.model)
    processor = trainer.processing_class if isinstance(trainer.processing_class, TimesCLIPProcessor) else None
    # FSDP puts a class of its own in front.
    classes: Sequence[Any] = type(model).__mro__
    model_class = next((known for known in classes if known.__name__ in MODEL_CLASSES), TimesCLIPModel)
    task = model_class.task
    adapter = _adapter(trainer.model)
    measurements = measurements or {}
    kept = _kept(trainer)
    measured = _measured_in_training(trainer, kept["step"])
    measured |= {part: _metrics_of(measurement.metrics) for part, measurement in measurements.items()}
    windows = any(isinstance(data, ForecastWindows) for data in (trainer.train_dataset, trainer.eval_dataset))
    sizes = {"train": _length(trainer.train_dataset), "validation": _length(trainer.eval_dataset)}
    sizes |= {part: measurement.count for part, measurement in measurements.items()}
    facts = CardFacts(
        model_name=f"timesclip-{task.name}",
        model_class=model_class,
        config=model.config,
        processor=processor,
        towers=_towers(model, adapted=adapter is not None),
        origin=_source(model.name_or_path) if model.starts_from_checkpoint and adapter is None else None,
        base_models=_base_models(model, adapter),
        adapter=adapter,
        measured={part: metrics for part, metrics in measured.items() if metrics},
        measured_in=_unit_of_errors(task, model.config, processor),
        curve=training_curve(trainer),
        kept=kept,
        dataset_tags=_hub_datasets(trainer.train_dataset),
        sizes={part: count for part, count in sizes.items() if count is not None},
        samples="windows" if windows else "series",
        hyperparameters=_hyperparameters(trainer, model),
        environment=_run_environment(trainer, adapter is not None),
        limits=_limits(model.config, task),
        tags=list(getattr(model, "model_tags", None) or ()),
    )
    if trainer.hub_model_id:
        facts.place = str(trainer.hub_model_id)
        facts.model_name = facts.place.split("/")[-1]
    return facts


def _limits(config: TimesCLIPConfig, task: Task) -> list[str]:
    """What follows from how the model was trained."""
    limits = []
    if calibration := config.calibration:
        limits.append(
            f"Intervals rest on {calibration.get('count')} known answers ({calibration.get('source')}). They hold as "
            "often as they say, on average, for series that are exchangeable with those: an assumption, which other "
            "places and years may break. The test part's coverage, where it is reported, says how well it held there."
        )
    if config.num_centers and (config.head == "kernel" or config.kernel_shortcut):
        held = "their scaled values among them" if config.kernel_shortcut else "what the towers say of them"
        limits.append(
            f"The weights hold {config.num_centers} series that the model was fitted on, {held}: whoever has this "
            "model can read them. Do not share it where the data must not be shared."
        )
    if task.name != "classification" or config.class_weights is None:
        return limits
    names: Any = config.id2label
    weights = ", ".join(f"{names[i]} {weight:.3g}" for i, weight in enumerate(config.class_weights))
    return [
        *limits,
        f"Classes were weighted in training ({weights}): probabilities are not those of classes as frequent as in the "
        "data.",
    ]


def _run_environment(trainer: Any, with_adapter: bool) -> dict[str, str]:
    found = environment(trainer.args.device)
    if with_adapter:
        found["peft"] = importlib.metadata.version("peft")
    if trainer.args.world_size > 1:
        found["processes"] = str(trainer.args.world_size)
    runtimes = [entry["train_runtime"] for entry in trainer.state.log_history if "train_runtime" in entry]
    if runtimes and not trainer.is_in_train:
        found["training time"] = f"{runtimes[-1]:.0f} s"
    return found


# Where the weights come from


def _towers(model: Any, adapted: bool) -> dict[str, dict[str, Any]]:
    towers = {branch: getattr(model.config, f"{branch}_config") for branch in ("vision", "text")}
    return {
        branch: {
            "type": tower.model_type,
            "source": _source(tower.name_or_path) if model.starts_from_checkpoint else None,
            "pretrained": model.starts_from_checkpoint and branch not in model.random_towers,
            "frozen": getattr(model.config, f"freeze_{branch}") and not adapted,
        }
        for branch, tower in towers.items()
        if tower is not None
    }


def _base_models(model: Any, adapter: Mapping[str, Any] | None) -> list[str]:
    if adapter is not None:
        return [adapter["base"]] if adapter["base"] else []
    if not model.starts_from_checkpoint:
        return []
    whole = [model.name_or_path] if model.name_or_path and _is_hub_id(model.name_or_path) else []
    towers = [tower.name_or_path for tower in (model.config.vision_config, model.config.text_config) if tower]
    return whole or sorted({name for name in towers if name and _is_hub_id(name)})


def _adapter(model: Any) -> dict[str, Any] | None:
    """Settings of the adapter that alone `save_pretrained` writes."""
    configs = getattr(model, "peft_config", None)
    if not configs:
        return None
    active = next(iter(configs.values()))
    base = active.base_model_name_or_path or unwrap_peft_model(model).name_or_path
    names = ("r", "lora_alpha", "lora_dropout")
    return {
        "type": str(getattr(active.peft_type, "value", active.peft_type)),
        **{name: getattr(active, name) for name in names if hasattr(active, name)},
        "base": base if base and _is_hub_id(base) else None,
    }


def _is_hub_id(name: str) -> bool:
    return is_hub_id(name) and not Path(name).exists() and not _ships(name)


def _ships(name: str) -> bool:
    return checkpoint_folder(name) != name


def _source(name: str) -> dict[str, Any] | None:
    """A Hub id, or what ships; of a folder its own name alone, since where it lies is nobody's business."""
    on_hub = _is_hub_id(name)
    return {"name": name if on_hub else Path(name).name, "on_hub": on_hub, "ships": _ships(name)} if name else None


# What was trained on, and how


def _length(data: Any) -> int | None:
    return len(data) if hasattr(data, "__len__") and not isinstance(data, dict) else None


def _hub_datasets(data: Any) -> list[str]:
    """Ids of the data sets on the Hub whose files `datasets` has loaded."""
    sources = getattr(getattr(data, "info", None), "download_checksums", None) or {}
    found = [re.match(r"hf://datasets/([\w.-]+/[\w.-]+)@", str(source)) for source in sources]
    return sorted({match[1] for match in found if match})


def _hyperparameters(trainer: Any, model: Any) -> dict[str, Any]:
    settings = {
        name: value
        for name, value in _changed(model.config, TimesCLIPConfig).items()
        if name not in _SHOWN_ELSEWHERE and name in TimesCLIPConfig.__annotations__
    }
    settings["parameters"] = f"{model.num_parameters():,}"
    settings["parameters that learn"] = f"{trainer.model.num_parameters(only_trainable=True):,}"
    if not trainer.state.global_step:
        return settings
    changed = _changed(trainer.args, type(trainer.args))
    shown = [name for name in changed if not _NO_SETTINGS.fullmatch(name) and name not in _ALWAYS_SHOWN]
    for name in (*_ALWAYS_SHOWN, *shown):
        value = _plain(getattr(trainer.args, name))
        if not (isinstance(value, str) and ("/" in value or "\\" in value)):  # paths of this machine
            settings[name] = value
    return settings


def _changed(found: Any, owner: Any) -> dict[str, Any]:
    """Fields of a dataclass that differ from the defaults declared there."""
    changed = {}
    for item in fields(owner):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        value = _plain(getattr(found, item.name, default))
        if default is not MISSING and (value or None) != (_plain(default) or None):  # off is off
            changed[item.name] = value
    return changed


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


# What was measured


def _metrics_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if name not in _NO_METRICS and isinstance(value, (int, float)) and math.isfinite(value)
    }


def _evaluations(trainer: Any) -> dict[int, dict[str, Any]]:
    """What was logged of evaluations, by step: the first at each, for later ones may be of other weights."""
    found: dict[int, dict[str, Any]] = {}
    for entry in trainer.state.log_history:
        names = [name for name in entry if name.startswith("eval_")]
        row = found.setdefault(entry.get("step", 0), {}) if names else {}
        for name in names:
            row.setdefault(name.removeprefix("eval_"), entry[name])
            row.setdefault("epoch", entry.get("epoch", 0.0))
    return found


def _measured_in_training(trainer: Any, step: int) -> dict[str, dict[str, float]]:
    """What the evaluation of the weights to save said; nothing where they were not evaluated."""
    row = _evaluations(trainer).get(step, {})
    if not isinstance(trainer.eval_dataset, dict):
        return {"validation": _metrics_of(row)}
    parts = {}
    for name in trainer.eval_dataset:
        own = {key.removeprefix(f"{name}_"): value for key, value in row.items() if key.startswith(f"{name}_")}
        parts[f"validation ({name})"] = _metrics_of(own)
    return parts


def training_curve(trainer: Any) -> list[dict[str, float]]:
    """Epoch, training losses since the row before, validation loss and the metric that chooses."""
    evaluations = _evaluations(trainer)
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    chosen = (trainer.args.metric_for_best_model or "loss").removeprefix("eval_")
    steps = sorted({entry["step"] for entry in logs} if len(evaluations) < 2 else evaluations)
    # With one term the sum says it all; late fusion adds up the losses of its branches, too.
    late = getattr(unwrap_peft_model(trainer.model).config, "branch_fusion", "joint") == "late"
    several = late or any("alignment_loss" in entry for entry in logs)
    terms = ("loss", "task_loss", "alignment_loss") if several else ("loss",)
    rows, before = [], -1
    for step in steps:
        row: dict[str, float] = {"step": step}
        since = [entry for entry in logs if before < entry["step"] <= step]
        row["epoch"] = evaluations[step]["epoch"] if step in evaluations else since[-1]["epoch"]
        for term in terms:
            values = [entry[term] for entry in since if term in entry]
            if values:
                row[f"training {term.replace('_', ' ')}"] = sum(values) / len(values)
        for metric in dict.fromkeys(("loss", chosen)):
            if metric in evaluations.get(step, {}):
                row[f"validation {metric.replace('_', ' ')}"] = evaluations[step][metric]
        rows.append(row)
        before = step
    return rows


def _kept(trainer: Any) -> dict[str, Any]:
    """Which weights the model has now: those that were best on validation, where it has gone back to them."""
    state, args = trainer.state, trainer.args
    ended = args.load_best_model_at_end and not trainer.is_in_train
    best = ended and (state.best_global_step == 0 or bool(state.best_model_checkpoint))
    step = state.best_global_step if best else state.global_step
    return {
        "trained": bool(state.global_step),
        "step": step,
        "epoch": _evaluations(trainer).get(step, {}).get("epoch"),
        "averaged_over": args.average_epochs,
        "best_by": str(args.metric_for_best_model).removeprefix("eval_").replace("_", " ") if best else None,
        "still_going_on": trainer.is_in_train,
    }


def _unit_of_errors(task: Task, config: TimesCLIPConfig, processor: TimesCLIPProcessor | None) -> str | None:
    if task.errors_in == "variates":
        fitted = config.variate_std is not None
        unit = "units of each variate's spread in the training part" if fitted else "the variates' own units"
        return f"{unit} (percentages aside)"
    if task.errors_in == "targets" and config.num_targets > 1:
        kind = "units of each target's spread in the training part" if config.target_std else "the targets' own units"
        return f"{kind}, those of one target in its own (R2 and percentages aside)"
    given = processor.target_units if processor is not None and task.errors_in == "targets" else None
    units = sorted({unit for unit in given or [] if unit})
    return f"{', '.join(units)} (R2 and percentages aside)" if units else None


__all__ = ["CardFacts", "Measurement", "collect_facts", "training_curve"]
