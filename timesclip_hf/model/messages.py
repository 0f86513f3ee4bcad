# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Warnings that point at the user's own line."""

import sys
import warnings


def warn_caller(message: str) -> None:
    """Warn at the line that called the package, so that Python's filters say it once for that line."""
    package, level = __name__.partition(".")[0], 1
    while f"{sys._getframe(level).f_globals.get('__name__')}.".startswith(f"{package}."):
        level += 1
    warnings.warn(message, stacklevel=level + 1)


__all__ = ["warn_caller"]
