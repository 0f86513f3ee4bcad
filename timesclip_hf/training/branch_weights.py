# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""By how much each branch counts in the answer of late fusion: fitted on answers to what it has not learnt from."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils import logging

logger = logging.get_logger(__name__)

# Samples' worth of belief that branches are equally good: a handful of samples cannot tell them apart. A class that is
# said to be unlikely and comes costs much, so that log losses tell branches apart sooner than squared errors do.
PRIOR_SAMPLES = 20.0
PRIOR_SAMPLES_OF_CLASSES = 5.0


def fit_branch_weights(said: ArrayLike, labels: ArrayLike, prior_samples: float | None = None) -> list[float]:
    """Weights on the simplex under which the mean of the branches' answers has the least loss.

    That is the mean squared error, each target in units of its spread, or the log loss of the mean of probabilities;
    both are convex in the weights (a linear opinion pool; stacking, Breiman 1996, on the simplex). Few samples leave
    them near to equal: the squared distance to equal weights costs as much as a share `prior_samples / n` of the loss
    of equal weights.

    Args:
        said: `(n, branches, targets)` numbers, or `(n, branches, classes)` logarithms of probabilities.
        labels: `(n, targets)`, NaN = not observed, or `(n,)` whole numbers, the classes.
        prior_samples: how strongly equal weights are believed in; `None`: as 20 samples say, or of classes 5.

    Returns:
        One for each branch, none below 0, in sum 1, rounded to 4 digits.
    """
    said, labels = np.asarray(said, np.float64), np.asarray(labels)
    count = said.shape[1]
    equal = np.full(count, 1 / count)
    if count == 1 or not len(said):
        return equal.tolist()
    classes = labels.dtype.kind in "iu" and labels.ndim == 1
    loss = _log_loss(said, labels) if classes else _squared_error(said, labels)
    if prior_samples is None:
        prior_samples = PRIOR_SAMPLES_OF_CLASSES if classes else PRIOR_SAMPLES
    strength = prior_samples / len(said) * loss(equal)
    found = minimize(
        lambda weights: loss(weights) + strength * np.square(weights - equal).sum(),
        equal,
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        method="SLSQP",
    )
    weights = np.clip(found.x if np.isfinite(found.x).all() else equal, 0, None)
    weights = np.round(weights / weights.sum(), 4)
    weights[np.argmax(weights)] += 1 - weights.sum()
    return [round(float(weight), 4) for weight in weights]


def _squared_error(said: NDArray[np.float64], labels: NDArray[Any]) -> Any:
    labels = labels.astype(np.float64).reshape(len(said), -1)
    spread = np.nanstd(labels, axis=0)
    errors = (said - labels[:, None]) / np.where(spread > 0, spread, 1)  # (n, branches, targets)
    errors = np.moveaxis(errors, 1, -1).reshape(-1, said.shape[1])
    errors = errors[np.isfinite(errors).all(axis=1)]
    products = errors.T @ errors / max(1, len(errors))  # the sum of weights is 1: the mean's error is their mean
    return lambda weights: float(weights @ products @ weights)


def _log_loss(said: NDArray[np.float64], labels: NDArray[Any]) -> Any:
    likelihoods = np.exp(said[np.arange(len(labels)), :, labels])  # (n, branches)
    return lambda weights: -float(np.log(np.clip(likelihoods @ weights, 1e-12, None)).mean())


class BranchWeights(TrainerCallback):
    """Sets `config.branch_weights` by the validation part once a model with late fusion has trained.

    Epochs are compared by the weights at hand before, equal ones in a new model. Those stay where an adapter is
    trained, which is saved without a configuration.

    Args:
        trainer: the trainer that it is a callback of.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model, data = unwrap_peft_model(self.trainer.model), self._validation_part()
        config: Any = getattr(model, "config", None)
        if data is None or getattr(config, "branch_fusion", None) != "late" or len(config.branches) < 2:
            return
        if getattr(self.trainer.model, "peft_config", None):
            logger.warning("Branches count as in the model that was adapted: an adapter does not hold branch_weights.")
            return
        config.branch_weights = fit_branch_weights(*self._answers(data))
        shares = ", ".join(f"{name} {w:.2f}" for name, w in zip(config.branches, config.branch_weights, strict=True))
        logger.info(f"Branches count by what they said of the validation part: {shares}.")

    def _validation_part(self) -> Any:
        """The data that epochs are compared on; of several parts, the one that decides."""
        data, metric = self.trainer.eval_dataset, str(self.trainer.args.metric_for_best_model)
        if not isinstance(data, dict):
            return data
        return next((part for name, part in data.items() if metric.startswith(f"{name}_")), None)

    def _answers(self, data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """What the branches say of all samples, and the labels."""
        trainer, args = self.trainer, self.trainer.args
        beside = set(unwrap_peft_model(trainer.model).output_class.__dataclass_fields__) - {"branch_predictions"}
        kept = trainer.compute_metrics, args.batch_eval_metrics, args.eval_do_concat_batches
        # Nothing is measured here, and all of the answers are wanted, in one piece.
        trainer.compute_metrics, args.batch_eval_metrics, args.eval_do_concat_batches = None, False, True
        try:
            loader = trainer.get_eval_dataloader(data)
            output = Trainer.evaluation_loop(
                trainer, loader, "Weighing branches", prediction_loss_only=False, ignore_keys=sorted(beside)
            )
        finally:
            trainer.compute_metrics, args.batch_eval_metrics, args.eval_do_concat_batches = kept
            trainer.evaluation_terms.sums = {}
        return np.asarray(output.predictions), np.asarray(output.label_ids)


__all__ = ["BranchWeights", "fit_branch_weights"]
