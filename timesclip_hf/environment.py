# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Versions and device, for cards and results."""

import importlib.metadata
import platform
import sys

import torch


def environment() -> dict[str, str]:
    """Versions and device, for cards and results."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "datasets")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    own = getattr(sys.modules.get(__package__ or ""), "__version__", None)
    return {
        "python": platform.python_version(),
        **({"timesclip_hf": own} if own else {}),
        **versions,
        "torch": torch.__version__,  # with what it was built for
        "device": device,
    }


__all__ = ["environment"]
