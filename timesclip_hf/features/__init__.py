# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a frozen tower said, kept: each series is drawn and encoded once."""
