# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Are forecasts worse where the newest steps are unlike what was learnt from?

    python -m examples.study.unusual_windows illness.csv --timestamp date --context 36 --horizon 24

A forecaster learns from the first four fifths of each series of a long table, and is asked about up to 400 windows of
the last one. Prints the share of these that are unusual (`features.similar`), the mean absolute error there and
elsewhere, how errors follow the distance, and how many would be unusual if windows that share steps were neighbours.
Errors are in units of the training part's spread, of several series of that of each context.
"""

import argparse
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from timesclip_hf import SimilarSeries, TimesCLIPForecaster
from timesclip_hf.data.panel_windows import PanelWindows, usable_windows
from timesclip_hf.data.tables import read_table
from timesclip_hf.features.similar import read_blocks

_WINDOWS = 400


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--timestamp", required=True)
    parser.add_argument("--series", help="column of the series' names; without: one series")
    parser.add_argument("--target", nargs="+", help="columns to forecast; default: all others")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)
    frame = read_table(options.table)
    target = options.target or [name for name in frame if name not in (options.timestamp, options.series)]
    frame = frame[[*([options.series] if options.series else []), options.timestamp, *target]]
    groups = frame.groupby(options.series or np.zeros(len(frame)))
    first = frame[groups.cumcount() < 0.8 * groups[target[0]].transform("size")]
    forecaster = TimesCLIPForecaster(epochs=options.epochs).fit(
        first, id_column=options.series, timestamp_column=options.timestamp, target=target,
        horizon=options.horizon, context_length=options.context,
    )  # fmt: skip
    core: Any = forecaster.core
    panel = forecaster.tables.to_learn(frame)  # type: ignore[union-attr]
    lows = np.round(0.8 * panel.lengths).astype(int)
    series, steps = usable_windows(
        panel, lows, panel.lengths - options.horizon, options.context, options.horizon, len(target)
    )
    few = np.unique(np.linspace(0, len(series) - 1, min(_WINDOWS, len(series))).astype(int))
    shape: dict[str, Any] = {"context_length": options.context, "prediction_length": options.horizon}
    windows = PanelWindows(panel, series[few], steps[few], **shape, num_targets=len(target))
    known = core.keep_similar()
    plain = SimilarSeries.fit(core.model, core.processor, core.learn[0], max_series=len(known.rows))
    said, truth = core.answer(windows).forecasts, windows.labels(slice(None))
    spread = np.nanstd(windows.past(slice(None))[..., : len(target)], axis=1)[:, None] + 1e-9
    if len(panel) == 1:
        spread = np.nanstd(core.learn[0].panel.values[:, : len(target)], axis=0)
    errors = np.nanmean(np.abs(said - truth) / spread, axis=(1, 2))
    readings = read_blocks(core.model, core.processor, windows)
    distance, _, unusual = known.compare(readings)
    print(
        f"unusual {unusual.mean():.1%}, error {errors[unusual].mean() if unusual.any() else np.nan:.2f}, of others "
        f"{errors[~unusual].mean():.2f}; rank correlation {spearmanr(distance[:, 0], errors).statistic:.2f}; unusual, "
        f"if neighbours share steps: {plain.compare(readings)[2].mean():.1%}"
    )


if __name__ == "__main__":
    main()
