# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From weights to answers: pipelines and their inputs, export, the processor without torch."""
