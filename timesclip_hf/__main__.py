# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`python -m timesclip_hf` is the command `timesclip`."""

from .cli import main

raise SystemExit(main())
