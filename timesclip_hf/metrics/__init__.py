# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How good an answer is: pure functions of NumPy arrays."""
