# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From samples to weights: arguments, trainer and its parts, checkpoints, adapters."""
