# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The model card of a trainer: what was measured is remembered, and a README.md written beside each saved model."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils import logging

from ..model.configuration_timesclip import TimesCLIPConfig
from .card import is_own_card, model_card
from .facts import CardFacts, Measurement, collect_facts

logger = logging.get_logger(__name__)


class ModelCardCallback(TrainerCallback):
    """Remembers what was measured on the weights as they are after training, and writes cards.

    Metrics are called validation where they were taken on `trainer.eval_dataset`. Those of other data are reported
    under the prefix that they were evaluated with, unless that is Trainer's own.

    Args:
        trainer: the trainer that it is a callback of; it tells `data` what it is about to evaluate.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.data: Any = None  # what the next metrics are of: a data set, the name of a part, or None
        self._unnamed = False
        self._measurements: dict[str, Measurement] = {}
        self._told: dict[str, Any] = {}

    @contextmanager
    def unnamed(self, unnamed: bool = True) -> Iterator[None]:
        """Inside, nobody says what the data are: the prefix of their metrics is only Trainer's own."""
        self._unnamed = unnamed
        try:
            yield
        finally:
            self._unnamed = False

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Takes facts into all later cards; see `create_model_card`."""
        known = {item.name for item in dataclasses.fields(CardFacts)}
        if unknown := sorted(facts.keys() - known):
            raise ValueError(f"Cards have no place for {unknown}; they take {sorted(known)}.")
        self._told = _merged(self._told, facts)

    def write(self, folder: Path) -> None:
        """Writes README.md, unless there is one that somebody wrote by hand."""
        if not isinstance(getattr(unwrap_peft_model(self.trainer.model), "config", None), TimesCLIPConfig):
            return
        if is_own_card(folder / "README.md"):
            collected = collect_facts(self.trainer, self._measurements)
            known = {item.name: getattr(collected, item.name) for item in dataclasses.fields(collected)}
            folder.mkdir(parents=True, exist_ok=True)
            model_card(CardFacts(**_merged(known, self._told))).save(folder / "README.md")

    @contextmanager
    def beside(self, folder: Path) -> Iterator[None]:
        """Inside, a model is saved in the folder; then it has its card."""
        path = folder / "README.md"
        if not self.trainer.args.should_save:
            yield
            return
        if path.is_symlink():  # somebody's own, which peft would write through
            target = path.readlink()
            path.unlink()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                path.symlink_to(target)
            return
        by_hand = None if is_own_card(path) else path.read_bytes()
        yield
        if by_hand is not None:  # peft adds a few lines to any README.md that it finds
            if path.read_bytes() != by_hand:
                path.write_bytes(by_hand)
            return
        path.unlink(missing_ok=True)  # peft's own
        try:
            self.write(folder)
        except Exception:  # a training of many hours must not end because of its README
            logger.warning("No model card was written to %s.", folder, exc_info=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._measurements = {}  # of weights that will soon be others

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        if self.trainer.is_in_train:  # these are in the log, by step
            return
        prefix = next(name.removesuffix("_runtime") for name in metrics if name.endswith("_runtime"))
        part = self._part(None if self._unnamed or prefix.startswith("eval") else prefix)
        if part is not None:
            data = self.trainer.eval_dataset if self.data is None else self.data
            data = self.trainer.eval_dataset[data] if isinstance(data, str) else data
            named = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
            self._measurements[part] = Measurement(named, len(data) if hasattr(data, "__len__") else None)

    on_predict = on_evaluate

    def _part(self, prefix: str | None) -> str | None:
        """What the card calls the data of an evaluation; None: nothing that it should report."""
        own = self.trainer.eval_dataset
        if isinstance(self.data, str):
            return f"validation ({self.data})"
        if self.data is None or _same(self.data, own):
            return "validation"
        names = [name for name, part in own.items() if _same(self.data, part)] if isinstance(own, dict) else []
        if names:
            return f"validation ({names[0]})"
        return None if _same(self.data, self.trainer.train_dataset) else prefix


def create_model_card(trainer: Any, output_dir: str | Path | None = None, **facts: Any) -> None:
    """Writes README.md, unless there is one that somebody wrote by hand.

    Args:
        trainer: the trainer.
        output_dir: folder of the saved model; not set: `args.output_dir`.
        **facts: what the trainer cannot know, or should say otherwise: fields of `CardFacts` such as `model_name`,
            `license`, `dataset`, `dataset_tags`, `split`, `limits`, `tags`, `command`. Mappings and limits add to what
            the trainer knows, everything else replaces it. All later cards of this trainer say it, too.

    Raises:
        ValueError: a fact that cards have no place for.
    """
    trainer.card.tell(facts)
    if trainer.is_world_process_zero():
        trainer.card.write(Path(str(trainer.args.output_dir if output_dir is None else output_dir)))


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


__all__ = ["ModelCardCallback", "create_model_card"]
