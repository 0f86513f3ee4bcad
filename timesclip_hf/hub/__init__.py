# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What people read and download: the model card, the facts in it, the push."""
