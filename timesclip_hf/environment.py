# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Versions and device, for cards and results."""

import importlib.metadata
import platform
import sys

import torch


def environment(device: torch.device | None = None) -> dict[str, str]:
    """Versions and device, for cards and results.

    Args:
        device: that was used; not set: an accelerator where there is one.
    """
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "datasets")}
    on_gpu = torch.cuda.is_available() and (device is None or device.type != "cpu")
    own = getattr(sys.modules.get(__package__ or ""), "__version__", None)
    return {
        "python": platform.python_version(),
        **({"timesclip_hf": own} if own else {}),
        **versions,
        "torch": torch.__version__,  # with what it was built for
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
    }


__all__ = ["environment"]
