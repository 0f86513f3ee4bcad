# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A trainer that writes a model card beside each model that it saves."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import PredictionOutput, unwrap_peft_model
from transformers.utils import logging

from ..hub.card import is_own_card, model_card
from ..hub.facts import CardFacts, Measurement, collect_facts
from ..model.configuration_timesclip import TimesCLIPConfig

logger = logging.get_logger(__name__)


class DescribedTrainer(Trainer):
    """
    As `transformers.Trainer`; what differs:

    - `save_model`, every checkpoint and every push write a README.md with what was trained from what, on what, how,
      and what was measured. A README.md that somebody wrote by hand stays as it is.
    - Metrics are called validation where they were taken on `eval_dataset`. A test part is reported where it was
      evaluated as such after training: `trainer.evaluate(test, metric_key_prefix="test")`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._measurements: dict[str, Measurement] = {}
        self._told: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; what was measured before is forgotten."""
        self._measurements = {}
        return super().train(*args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As Trainer's; the card reports the metrics, of other data than `eval_dataset` under the prefix given."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        self._remember(eval_dataset, metrics, metric_key_prefix, metric_key_prefix)
        return metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str | None = None
    ) -> PredictionOutput:
        """As Trainer's, whose prefix is "test" if none is given; the card reports only what one was given for."""
        prefix = "test" if metric_key_prefix is None else metric_key_prefix
        output = super().predict(test_dataset, ignore_keys, prefix)
        self._remember(test_dataset, output.metrics or {}, prefix, metric_key_prefix)
        return output

    def create_model_card(self, output_dir: str | Path | None = None, **facts: Any) -> None:  # type: ignore[override]
        """Writes README.md, unless there is one that somebody wrote by hand.

        Args:
            output_dir: folder of the saved model; not set: `args.output_dir`.
            **facts: what the trainer cannot know, or should say otherwise: fields of `CardFacts` such as `model_name`,
                `license`, `dataset`, `dataset_tags`, `split`, `limits`, `tags`, `command`. Mappings and limits add to
                what the trainer knows, everything else replaces it. All later cards of this trainer say it, too.

        Raises:
            ValueError: a fact that cards have no place for.
        """
        known = {item.name for item in dataclasses.fields(CardFacts)}
        if unknown := sorted(facts.keys() - known):
            raise ValueError(f"Cards have no place for {unknown}; they take {sorted(known)}.")
        self._told = _merged(self._told, facts)
        if self.is_world_process_zero():
            self._write_card(Path(str(self.args.output_dir if output_dir is None else output_dir)))

    def _write_card(self, folder: Path) -> None:
        if not isinstance(getattr(unwrap_peft_model(self.model), "config", None), TimesCLIPConfig):
            return
        if is_own_card(folder / "README.md"):
            collected = collect_facts(self, self._measurements)
            known = {item.name: getattr(collected, item.name) for item in dataclasses.fields(collected)}
            folder.mkdir(parents=True, exist_ok=True)
            model_card(CardFacts(**_merged(known, self._told))).save(folder / "README.md")

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As Trainer's, and a card."""
        folder = Path(str(self.args.output_dir if output_dir is None else output_dir))
        path = folder / "README.md"
        by_hand = None if is_own_card(path) else path.read_bytes()
        super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return
        if by_hand is not None:  # peft adds a few lines to any README.md that it finds
            if path.read_bytes() != by_hand:
                path.write_bytes(by_hand)
            return
        path.unlink(missing_ok=True)  # peft's own
        try:
            self._write_card(folder)
        except Exception:  # a training of many hours must not end because of its README
            logger.warning("No model card was written to %s.", folder, exc_info=True)

    def _remember(self, data: Any, metrics: Mapping[str, float], prefix: str, given: str | None) -> None:
        """Metrics of the weights as they are after training; those in training are in the log, by step."""
        part = self._part(data, given)
        if part is None or self.is_in_train:
            return
        own: Any = self.eval_dataset if data is None else data
        if isinstance(data, str):
            own = self.eval_dataset[data]  # type: ignore[index,call-overload]
        count = len(own) if hasattr(own, "__len__") else None
        named = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
        self._measurements[part] = Measurement(named, count)

    def _part(self, data: Any, given: str | None) -> str | None:
        """What the card calls the data of an evaluation; None: nothing that it should report."""
        own: Any = self.eval_dataset
        if isinstance(data, str):
            return f"validation ({data})"
        if isinstance(own, dict):
            names = [name for name, part in own.items() if _same(data, part)]
            if names or data is None:
                return f"validation ({names[0]})" if names else None
        if data is None or _same(data, own):
            return "validation"
        if isinstance(data, dict) or _same(data, self.train_dataset) or given is None or given.startswith("eval"):
            return None
        return given


def _merged(known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` over `known`; mappings in both are joined, and limits."""
    merged = {**known, **more}
    for name in known.keys() & more.keys():
        if isinstance(known[name], Mapping) and isinstance(more[name], Mapping):
            merged[name] = {**known[name], **more[name]}
    if "limits" in known and "limits" in more:
        merged["limits"] = list(dict.fromkeys([*more["limits"], *known["limits"]]))
    return merged


def _same(one: Any, other: Any) -> bool:
    fingerprints = [getattr(data, "_fingerprint", None) for data in (one, other)]
    return one is other or (fingerprints[0] is not None and fingerprints[0] == fingerprints[1])


__all__ = ["DescribedTrainer"]
