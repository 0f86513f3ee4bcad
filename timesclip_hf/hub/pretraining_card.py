# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The card of towers that were pretrained without labels: on what, how long, how to use them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..escaping import code_span, fenced, literal, markdown

_MARK = "<!-- written by timesclip_hf.training.pretraining -->"
_CARD = """{mark}
# {name}

Two towers and a tokenizer that know what series look like, for series of any length, number of variates and length of
patches. Load them by the name of this folder:

{command}

{code}

- **Data**: {data}.
- **Start**: {start}.
- **Objective**: two crops of a series are recognised as one, patches by patches and patches by plots, at a temperature
  of {temperature}; level, spread, slope and period are read from each tower (`timesclip_hf/training/pretraining.py`).
- **Budget**: {budget}: {step} of {steps} steps of {batch_size} series, learning rate {learning_rate}, seed {seed}.
- **Evaluation**: none here. `timesclip train --towers` compares with ridge and boosting; compare with
  `--towers timesclip-small`, too.
- **Limits**: what these series never show, the towers have not learnt. Weights can hold traces of the series.
"""
_CODE = """from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression

towers = {folder}
config = TimesCLIPConfig.from_vision_text_pretrained(towers, towers, "probe", num_variates=7, context_length=36)
model = TimesCLIPForRegression.from_vision_text_pretrained(towers, towers, config=config)"""


def write_pretraining_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes `README.md`; one that somebody has written is left alone.

    Args:
        folder: of the towers.
        facts: `data` and `start` in words, `budget`, `step`, and fields of `PretrainingArguments`.
    """
    path = folder / "README.md"
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        return
    name = folder.name or "towers"
    command = f"timesclip train fields.csv --target yield --towers {name} --output model/\n"
    command += f"timesclip embed fields.csv --model {name} --output embeds.parquet"
    start = facts["start"]
    text = _CARD.format(
        **{
            **facts,
            "mark": _MARK,
            "name": markdown(name),
            "data": markdown(facts["data"]),
            "start": "random weights" if start is None else code_span(Path(str(start)).name),
            "command": fenced(command),
            "code": fenced(_CODE.format(folder=literal(name)), "python"),
        }
    )
    path.write_text(text, encoding="utf-8")


__all__ = ["write_pretraining_card"]
