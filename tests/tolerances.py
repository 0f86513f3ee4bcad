# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How near two results must be that are the same but for the order of their sums."""

# One process repeats itself to the bit. Another one may not: how memory is aligned, how many threads share a sum and
# what the processor can do decide in which order numbers are added (6e-8 apart was seen).
ANOTHER_PROCESS = {"rtol": 1e-5, "atol": 1e-6}
