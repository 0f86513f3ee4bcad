# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Versions and device, as cards and results name them."""

import platform

import pytest
import torch
import transformers

import timesclip_hf
from timesclip_hf.environment import environment


def test_versions_are_those_that_run_here() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["timesclip_hf"] == timesclip_hf.__version__
    assert (found["torch"], found["transformers"]) == (torch.__version__, transformers.__version__)


def test_a_run_on_the_cpu_says_so_even_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    assert environment(torch.device("cpu"))["device"] == f"CPU, {torch.get_num_threads()} threads"
    assert environment(torch.device("cuda"))["device"] == environment()["device"] == "A GPU"
