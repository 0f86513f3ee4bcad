# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a repository on the Hub carries: configuration, model, processor and all that they need.

Files import one another as `.name` alone, nothing from outside of this folder: transformers copies them flat, so that
`trust_remote_code=True` loads a model where this package is not installed.
"""
