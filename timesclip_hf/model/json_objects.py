# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""JSON from files that may be damaged or a stranger's: it is an object, no deeper than any of ours, or a `ValueError`.

Nothing that such a file names is ever imported, loaded or run.
"""

import json
from typing import Any

# Ours have six levels; below this, no function that goes over an object runs out of stack.
_DEEPEST = 50


def parse_object(text: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        ValueError: anything else; its words go on behind the file's name: "it is no JSON: ...".
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of an object")
    check_depth(content)
    return content


def check_depth(content: Any, file: str | None = None) -> None:
    """Raises `ValueError` for objects and lists within each other beyond any of ours."""
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            part
            for value in level
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, (dict, list, tuple))
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply" if file is None else f"{file} cannot be read: it is nested too deeply")


__all__ = ["check_depth", "parse_object"]
