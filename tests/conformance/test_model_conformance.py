# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""transformers' common tests of models and configurations, on ours.

`PipelineTesterMixin` is not among them: it knows transformers' own tasks alone, and no time series are among those.
"""

import copy
import re
import tempfile
import unittest
from typing import Any
from unittest.mock import patch

from testers import SERIES, ModelTester
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES, MODEL_MAPPING_NAMES
from transformers_tests import test_modeling_common
from transformers_tests.test_configuration_common import ConfigTester

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
)

# Tests whose answer hangs on the machine, or on parts that no model of ours has, and not on the configuration: run (or
# skipped, with transformers' own reason) for the first configuration below, and not once more for each of the others.
ASKED_ONCE = re.compile(
    "flash_attn|flex_attention|deepspeed|kernels_can|_offload|model_parallelism|multi_gpu|can_load_with_|global_device"
    "|dispatch_on_flash|can_compile|torch_compile|torch_export|fp32_ln"  # an accelerator and what runs on it alone
    "|non_composite_models"  # of one tower
    "|resize_|inputs_embeds|causal_lm|encoder_decoder_loss|generation"  # a vocabulary
    "|grouped_inference|router_logits|_rope_|_axial_|tp_plan|sliding_window"  # experts, rotary positions, plans
    "|get_(text|image|audio|video)_features"  # methods of these names
)


class CommonModelTests(test_modeling_common.ModelTesterMixin):
    """The common tests for one configuration; a subclass says which, and why a test cannot apply to it."""

    model_tester: ModelTester
    skipped: dict[str, str] = {}
    _is_composite = True
    test_resize_embeddings = False  # no vocabulary
    additional_model_inputs = ["pixel_values", "patch_mask", "variate_values", "loc", "scale"]

    def setUp(self) -> None:
        if self._testMethodName in self.skipped:
            self.skipTest(self.skipped[self._testMethodName])
        # What the tests do with a base model or a classifier hangs on lists of names.
        for names, model_class in (
            (MODEL_MAPPING_NAMES, TimesCLIPModel),
            (MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES, TimesCLIPForClassification),
        ):
            known = patch.dict(names, timesclip=model_class.__name__)
            known.start()
            self.addCleanup(known.stop)

    def _prepare_for_class(self, inputs_dict: dict, model_class: type, return_labels: bool = False) -> dict[str, Any]:
        labels = self.model_tester.labels_for(model_class) if return_labels else {}
        return {**copy.deepcopy(inputs_dict), **labels}

    def _prepare_config_and_inputs_for_retain_grad_hidden_states_attentions(self) -> tuple[Any, dict[str, Any]]:
        """Gradients flow from the first output, which is the image embeds where there are any."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return config, {**inputs, "use_vision": False}

    def test_config(self) -> None:
        ConfigTester(self, config_class=TimesCLIPConfig, has_text_modality=False, **SERIES).run_common_tests()

    def test_model_get_set_embeddings(self) -> None:
        """As the mixin has it, for a linear map of patches in the place of a table of words."""
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            self.assertIsInstance(model.get_input_embeddings(), nn.Linear)
            layer = nn.Linear(10, 10)
            model.set_input_embeddings(layer)
            self.assertIs(model.get_input_embeddings(), layer)
            self.assertIsNone(model.get_output_embeddings())

    def test_sdpa_can_dispatch_composite_models(self) -> None:
        """As the mixin has it, for towers by our names."""
        for model_class in self.all_model_classes:
            with tempfile.TemporaryDirectory() as folder:
                model_class(self.model_tester.get_config()).save_pretrained(folder)
                by_default = model_class.from_pretrained(folder).base_model
                eager = model_class.from_pretrained(folder, attn_implementation="eager").base_model
            for name in ("vision_tower", "text_tower"):
                if (tower := getattr(by_default, name)) is not None:
                    found = tower.config._attn_implementation, getattr(eager, name).config._attn_implementation
                    self.assertEqual(found, ("sdpa" if tower._supports_sdpa else "eager", "eager"))

    def test_keep_in_fp32_modules(self) -> None:
        self.all_model_classes = self._with_weights_in_fp32()
        super().test_keep_in_fp32_modules()

    def test_keep_in_fp32_modules_exist(self) -> None:
        self.all_model_classes = self._with_weights_in_fp32()
        super().test_keep_in_fp32_modules_exist()

    def _with_weights_in_fp32(self) -> tuple[type, ...]:
        """The mixin skips all models at the first that has none."""
        config = self.model_tester.get_config()
        found = tuple(c for c in self.all_model_classes if c(config)._keep_in_fp32_modules_strict)
        if not found:
            self.skipTest("neither a learnt temperature nor learnt weights of losses")
        return found

    def test_can_load_ignoring_mismatched_shapes(self) -> None:
        """The mixin takes every field with `_std` in its name for a spread of weights; `variate_std` is none."""

        def without_spread(config: TimesCLIPConfig) -> TimesCLIPConfig:
            config = copy.deepcopy(config)
            config.initializer_range = 1e-10
            return config

        with patch.object(test_modeling_common, "_config_zero_init", without_spread):
            super().test_can_load_ignoring_mismatched_shapes()


def without_what_is_asked_once(test_class: type) -> type:
    for name in dir(test_class):
        if name.startswith("test_") and ASKED_ONCE.search(name) and callable(getattr(test_class, name)):
            setattr(test_class, name, None)
    return test_class


class FullModelTest(CommonModelTests, unittest.TestCase):
    """Both branches of CLIP and every learnt part, in all five models."""

    all_model_classes = (
        TimesCLIPModel,
        TimesCLIPForRegression,
        TimesCLIPForClassification,
        TimesCLIPForPrediction,
        TimesCLIPForPreTraining,
    )
    model_tester = ModelTester(
        "full",
        "clip_vision_model",
        "clip_text_model",
        freeze_vision=False,
        learn_logit_scale=True,
        alignment_weighting="uncertainty",
    )
    skipped = dict.fromkeys(
        [
            *(f"test_get_image_features_output_{k}" for k in (0, 2)),
            *(f"test_get_text_features_output_{k}" for k in range(3)),
        ],
        "asks for one hidden state a sample; a sample has one for each of its variates",
    )

    def _text_features_prepare_config_and_inputs(self) -> tuple[Any, dict]:
        """The mixin knows the names of words alone, not those of patches."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return config, {"patch_values": inputs["patch_values"]}


@without_what_is_asked_once
class PaperModelTest(CommonModelTests, unittest.TestCase):
    """The forecaster as published: frozen vision tower, cross-attention between variates. With SigLIP's towers."""

    all_model_classes = (TimesCLIPModel, TimesCLIPForPrediction, TimesCLIPForPreTraining)
    model_tester = ModelTester("paper", "siglip_vision_model", "siglip_text_model")
    skipped = dict.fromkeys(
        (
            "test_training_gradient_checkpointing",
            "test_training_gradient_checkpointing_use_reentrant_false",
            "test_training_gradient_checkpointing_use_reentrant_true",
        ),
        "counts checkpoints in the first layer of the model, which is the vision tower's: frozen, it has none",
    )


@without_what_is_asked_once
class ForecastModelTest(CommonModelTests, unittest.TestCase):
    """One branch alone, and the linear path beside it."""

    all_model_classes = (TimesCLIPModel, TimesCLIPForRegression, TimesCLIPForPrediction)
    model_tester = ModelTester("forecast", None, "clip_text_model", head="pooled")


@without_what_is_asked_once
class ViTBertModelTest(CommonModelTests, unittest.TestCase):
    all_model_classes = (TimesCLIPModel, TimesCLIPForRegression, TimesCLIPForPreTraining)
    model_tester = ModelTester("full", "vit", "bert", freeze_vision=False, alignment="global")


@without_what_is_asked_once
class Dinov2T5ModelTest(CommonModelTests, unittest.TestCase):
    all_model_classes = (TimesCLIPModel, TimesCLIPForClassification)
    model_tester = ModelTester("no_alignment", "dinov2", "t5", freeze_vision=False)


@without_what_is_asked_once
class SwinModelTest(CommonModelTests, unittest.TestCase):
    all_model_classes = (TimesCLIPModel, TimesCLIPForRegression)
    model_tester = ModelTester("medium", "swin", "clip_text_model", freeze_vision=False, freeze_text=True)


@without_what_is_asked_once
class ResNetModelTest(CommonModelTests, unittest.TestCase):
    all_model_classes = (TimesCLIPModel, TimesCLIPForPrediction)
    model_tester = ModelTester("full", "resnet", "bert", freeze_vision=False)
