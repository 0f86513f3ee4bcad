# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""transformers' common tests of processors, on ours."""

import unittest
from typing import Any

import torch
from transformers_tests.test_processing_common import ProcessorTesterMixin

from timesclip_hf import TimesCLIPProcessor

# The rest of the mixin is about sub-processors (tokenizers, image processors) and chat templates: ours has neither.
ABOUT_EVERY_PROCESSOR = {
    "test_processor_to_json_string",
    "test_processor_from_and_save_pretrained",
    "test_processor_from_and_save_pretrained_as_nested_dict",
    "test_processor_from_pretrained_vs_from_components",
    "test_model_input_names",
    "test_no_redundant_default_kwargs",
    "test_valid_processor_kwargs_set",
    "test_init_arguments_not_in_class_attributes",
    "test_init_arguments_not_in_processor_kwargs",
    "test_call_arguments_not_in_processor_kwargs",
    "test_call_arguments_not_in_attributes",
    "test_call_arguments_default_none",
}
NO_KWARGS = "a rule about arguments that are passed on to sub-processors; ours has none, and passes nothing on"
SKIPPED = {
    "test_init_arguments_not_in_processor_kwargs": NO_KWARGS,
    "test_call_arguments_not_in_processor_kwargs": NO_KWARGS,
    "test_call_arguments_default_none": NO_KWARGS,
    "test_call_arguments_not_in_attributes": "`draw` is an argument and, apart from it, a method",
}


class TimesCLIPProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = TimesCLIPProcessor

    def setUp(self) -> None:
        if self._testMethodName in SKIPPED:
            self.skipTest(SKIPPED[self._testMethodName])

    @staticmethod
    def prepare_processor_dict() -> dict[str, Any]:
        return {
            "context_length": 12,
            "patch_length": 4,
            "patch_stride": 2,
            "scaling": "instance",
            "num_variates": 2,
            "variate_names": ["ndvi", "rain"],
            "image_size": [32, 32],
            "image_mean": [0.5, 0.25, 0.125],
            "image_std": [0.5, 0.5, 0.5],
        }

    def test_model_input_names(self) -> None:
        """As the mixin has it, for series in the place of words and images."""
        processor = self.get_processor()
        self.assertSetEqual(set(processor(torch.randn(3, 12, 2))), set(processor.model_input_names))


for name in dir(TimesCLIPProcessorTest):
    if name.startswith("test_") and name not in ABOUT_EVERY_PROCESSOR:
        setattr(TimesCLIPProcessorTest, name, None)
