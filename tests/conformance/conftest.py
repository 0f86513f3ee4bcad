# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Puts transformers' own tests on the path. Without them (`make conformance` fetches them) nothing is collected."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import upstream  # noqa: E402

collect_ignore_glob = []
if upstream.is_there():
    sys.path.insert(0, str(upstream.folder()))
else:
    collect_ignore_glob.append("test_*.py")
