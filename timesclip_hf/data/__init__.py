# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From files and frames to samples: tables, timestamps, windows, splits, the collator."""
