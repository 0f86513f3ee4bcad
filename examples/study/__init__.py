# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What makes the tables of README.md and RESULTS.md: TimesCLIP beside its peers, on one split, from one command.

Run from the root of the repository: `python -m examples.study.run_regression`, `.run_forecasting`, `.run_ablation`.
Settings lie in `configs/` and `grids/`. To train a model of your own, copy one of the scripts a folder up instead.
"""
