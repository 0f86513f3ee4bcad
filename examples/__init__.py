# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Scripts to copy; `study/`, the runs behind RESULTS.md; `benchmarks/`, what takes how long."""
