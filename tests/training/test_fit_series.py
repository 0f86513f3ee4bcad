# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model of `timesclip train` starts from."""

from pathlib import Path

import pytest

from timesclip_hf.model import tower_configs
from timesclip_hf.training.fit_series import Recipe


def test_towers_that_ship_start_from_their_weights_and_others_from_random_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tower_configs, "WEIGHTS", tmp_path)
    assert Recipe(towers="timesclip-small").starts == {}
    (tmp_path / "timesclip-small").mkdir()
    (tmp_path / "timesclip-small" / "config.json").write_text("{}")
    assert Recipe(towers="timesclip-small").starts == {"vision": "timesclip-small", "text": "timesclip-small"}
    assert Recipe().starts == Recipe(towers="clip-b16").starts == {}
    given = {"vision": "folder"}
    assert Recipe(towers="timesclip-small", checkpoints=given).starts == given
