# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`timesclip train` of a forecaster with covariates or quantiles: from a table to a folder that says how good it is.

The last fifth of each series is the test part: forecast at origins a horizon apart by a model that was trained, and
whose epoch was chosen, on what lies before; this model is what is saved.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..data.panel_covariates import observed
from ..data.tables import some_of
from ..training import train_report as report
from .backtest import Backtest
from .forecast_tables import find_tables
from .forecaster import COLUMNS, TimesCLIPForecaster

_TEST = 0.2
_MOST_ORIGINS = 50
_SHOWN = {"mae": "typical error", "mse": "MSE", "smape": "sMAPE %", "mase": "MASE", "wql": "WQL", "skill": "skill"}


def train_forecaster(
    table: Any, forecaster: TimesCLIPForecaster, fit: dict[str, Any], peers: bool, output: Path, command: str,
    tell: Callable[[str], None],
) -> str:  # fmt: skip
    """Trains, compares and writes.

    Args:
        table: path or frame.
        forecaster: with its settings, not fitted.
        fit: arguments of `fit`, `horizon` among them.
        peers: also compare with RLinear.
        output: folder of the model and all that is told of it.
        command: the line that makes it again.
        tell: is told what goes on.

    Returns:
        What somebody reads in the end.

    Raises:
        ValueError: whatever is wrong with the table, in words.
    """
    columns = {name: value for name, value in fit.items() if name in COLUMNS}
    lengths = observed(find_tables(table, **columns).to_learn(table)).lengths
    windows = max(1, min(_MOST_ORIGINS, int(_TEST * lengths.min()) // fit["horizon"]))
    steps = f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
    tell(f"{len(lengths)} series of {steps} steps; the last {windows} x {fit['horizon']} of each are the test part")
    backtest = forecaster.cross_validation(table, windows=windows, peers=["RLinear"] if peers else [], **fit)
    forecaster.core, forecaster.tables = backtest.core, backtest.tables
    tell(f"looks back {backtest.core.context_length} steps, a season has {backtest.core.season}")
    return _write(backtest, forecaster, table, output, command)


def _write(backtest: Backtest, forecaster: TimesCLIPForecaster, table: Any, output: Path, command: str) -> str:
    figures = backtest.table()
    own, base = ({str(k): float(v) for k, v in figures.iloc[row].items()} for row in (0, 1))
    shown = figures.reindex(columns=[name for name in _SHOWN if name in figures]).rename(columns=_SHOWN)
    core: Any = forecaster.core
    report.clear(output)
    settings: dict[str, Any] = {
        "model_name": "timesclip-forecast",
        "dataset": Path(str(table)).name if isinstance(table, str | Path) else "a table",
        "split": "each series by time: the last fifth is the test part.",
        "measured": {"test": {name: own[name] for name in ("mse", "mae", "smape")}},
        "measured_in": "in units of each series' spread in what was learnt from",
        "command": command,
    }
    forecaster.save(output, **settings)
    report.write_csv(backtest.frame(), output / "test_predictions.csv")
    backtest.plot().savefig(output / "predictions.png", dpi=120)
    files = ["test_predictions.csv", "predictions.png", *report.write_learning_curve(output, core.trainer)]
    rows = {str(name): row for name, row in figures.to_dict("index").items()}
    facts = {"command": command, "task": "forecasting", "errors in": settings["measured_in"], "test": rows}
    report.write_metrics(output, facts)
    cover = next((name for name in own if name.startswith("coverage_")), None)
    won = "" if np.isnan(own["win_rate"]) else f"; better in {own['win_rate']:.0%} of the windows"
    ahead = " --future FUTURE.csv" if forecaster.tables is not None and forecaster.tables.columns else ""
    lines = [
        f"typical error {report.figure(own['mae'])} spreads on {len(backtest.truth)} windows that it has not seen; "
        f"seasonal naive: {report.figure(base['mae'])}{won}",
        *([] if cover is None else [f"{cover.split('_')[1]} % intervals held {own[cover]:.0%} of the test part"]),
        "",
        shown.round(3).to_string(),
        "",
        f"written to {output}: the model, README.md, metrics.json, {some_of(files, 9)}",
        f"next: timesclip predict HISTORY.csv --model {output} --output next.csv{ahead}",
    ]
    return "\n".join(lines)


__all__ = ["train_forecaster"]
