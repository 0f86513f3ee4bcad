# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A wide table small enough to be read; shared by the tests of tables, splits and the collator."""

import numpy as np
import pandas as pd


def small_table():
    """Three fields, two variates, three steps; one cell missing."""
    return pd.DataFrame(
        {
            "site": ["Tunis", "Tunis", "Brussels"],
            "year": [2001, 2002, 2001],
            "yield": [3.5, 4.25, 8.0],
            "latitude": [36.75, 36.75, 50.75],
            "soil": ["loam", "clay", "loam"],
            "ndvi_00": [0.1, 0.2, 0.3],
            "ndvi_01": [0.4, np.nan, 0.6],
            "ndvi_02": [0.7, 0.8, 0.9],
            "b_8_00": [10.0, 20.0, 30.0],
            "b_8_01": [11.0, 21.0, 31.0],
            "b_8_02": [12.0, 22.0, 32.0],
        }
    )


SMALL_VALUES = np.array(
    [
        [[0.1, 10], [0.4, 11], [0.7, 12]],
        [[0.2, 20], [np.nan, 21], [0.8, 22]],
        [[0.3, 30], [0.6, 31], [0.9, 32]],
    ],
    np.float32,
)
