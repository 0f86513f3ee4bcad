# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that lie beside a saved model, in its folder or on the Hub, where there are such."""

from pathlib import Path
from typing import Any

from transformers.utils import cached_file


def file_beside(model: str | Path, name: str, needed: bool = False, **hub_kwargs: Any) -> Path | None:
    """The path of a file beside a saved model; `None`: it is not there, or cannot be asked for.

    Args:
        model: folder or Hub id.
        name: of the file.
        needed: raise what is wrong, in place of `None`.
        **hub_kwargs: `revision`, `token`, ...

    Raises:
        OSError: it is needed, and not there.
    """
    missing: Any = {
        "_raise_exceptions_for_missing_entries": needed,
        "_raise_exceptions_for_connection_errors": needed,
    }
    path = cached_file(str(model), name, **missing, **hub_kwargs)
    return None if path is None else Path(path)


__all__ = ["file_beside"]
