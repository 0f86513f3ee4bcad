# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What may come of any input: the right answer, a word, or an error that says what is wrong."""

import json
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from huggingface_hub.errors import StrictDataclassError

# Subclasses of ValueError that tell of bytes, and of no file or argument.
_SPEAK_OF_BYTES = (UnicodeError, json.JSONDecodeError)


class Audit:
    """Collects what went against the rule, so that one run tells of all of it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.count = 0

    def ask(self, case: Any, question: Callable[[], Any], expected: Any = None, named: str = "") -> bool:
        """Asks, and notes a fault where the answer is none of those that may be.

        Args:
            case: for the note.
            question: gives numbers, or anything where only errors count (None).
            expected: the numbers of the plain route; NaN where there is no answer. Without, numbers must be finite.
            named: what an error's message must hold.

        Returns:
            Whether there was an answer.
        """
        self.count += 1
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                answer = question()
            except Exception as error:
                right = isinstance(error, (ValueError, OSError, StrictDataclassError))
                if not right or isinstance(error, _SPEAK_OF_BYTES) or named not in str(error) or not str(error):
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    self.note(case, f"{type(error).__name__}: {str(error)[:150]} ({place.filename}:{place.lineno})")
                elif expected is not None:
                    self.note(case, f"refused, though it has an answer: {str(error)[:150]}")
                return False
        if answer is None:
            return True
        answer = np.asarray(answer, float)
        if expected is not None:
            expected = np.asarray(expected, float)
            size = max(float(np.nanmax(np.abs(expected), initial=0)), 1e-9)
            if answer.shape != expected.shape or not np.allclose(
                answer, expected, rtol=0, atol=2e-4 * size, equal_nan=True
            ):
                self.note(case, f"another answer: {answer.tolist()} instead of {expected.tolist()}")
        elif not np.isfinite(answer).all() and not told:
            self.note(case, "an answer that is not finite, without a word")
        return True

    def note(self, case: Any, fault: str) -> None:
        self.faults.append(f"{case!r:.300}: {fault}")

    def conclude(self, at_least: int) -> None:
        """Fails with all faults; also where fewer cases were asked than there should be."""
        assert not self.faults, f"{len(self.faults)} of {self.count}:\n" + "\n".join(self.faults[:30])
        assert self.count >= at_least
