# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Loading, saving and initialisation of all TimesCLIP models."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .alignment import AlignmentObjective
from .configuration_timesclip import TimesCLIPConfig
from .covariate_path import CovariateBends
from .json_objects import parse_object
from .layers import FittedLayer, PatchTokenizer, VariateTokenizer, ZeroLinear
from .remote_code import CarriesCode
from .tasks import Task
from .tower_configs import is_shape, is_timesclip
from .towers import leave_out_unread, load_quietly, load_text_tower, load_vision_tower, naming_damage

_ADAPTER_CONFIG = "adapter_config.json"


class TimesCLIPPreTrainedModel(CarriesCode, PreTrainedModel):
    """Loading, saving and initialisation shared by all TimesCLIP models."""

    config: TimesCLIPConfig
    config_class = TimesCLIPConfig
    task = Task(
        name="feature-extraction",
        auto_classes={"AutoModel": "TimesCLIPModel"},
        result="a vector of numbers, those of the first variate first",
        has_labels=False,
    )
    base_model_prefix = "timesclip"
    main_input_name = "patch_values"
    input_modalities = ["image", "time"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["logit_scale", "log_variances"]
    # Whether the weights came from a checkpoint; a configuration may name one whose weights were never loaded.
    starts_from_checkpoint = False
    # Towers that did not, though another one did: they learn at the rate of all else.
    random_towers: tuple[str, ...] = ()
    # Losses are means over the batch, so Trainer must go on dividing them by the accumulation steps.
    accepts_loss_kwargs = False

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        """Keys of the processor's batch on which this model's answer depends; its losses may read more of them."""
        names = {"pixel_values"} if config.vision_config is not None else set()
        names |= {"patch_values", "patch_mask"} if config.text_config is not None else set()
        shortcut = config.linear_shortcut or config.kernel_shortcut or config.shape_features > 0
        reads_series = config.variate_selection == "cross_attention" or shortcut
        return names | ({"variate_values"} if reads_series else set())

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
            return
        if isinstance(module, CovariateBends):
            module.reset_parameters()
            return
        super()._init_weights(module)
        if isinstance(module, (PatchTokenizer, VariateTokenizer)):
            init.normal_(module.position_embedding, std=self.config.initializer_range)
        if isinstance(module, PatchTokenizer):
            init.normal_(module.cls_token, std=self.config.initializer_range)
        elif isinstance(module, (AlignmentObjective, FittedLayer)):
            module.reset_parameters()

    def post_init(self) -> None:
        """As in transformers; of weights that stay in fp32, only those are named that this model has, and what lies
        behind the layer that is read of a tower is no surprise in a file."""
        own_names = {name.rpartition(".")[2] for name, _ in self.named_parameters()}
        fitted = [name for name, module in self.named_modules() if isinstance(module, FittedLayer)]
        kept = [name for name in self._keep_in_fp32_modules_strict if name in own_names]
        self._keep_in_fp32_modules_strict = [*kept, *fitted]
        if self.config.vision_feature_layer is not None:  # a whole tower may be read up to a layer
            self._keys_to_ignore_on_load_unexpected = {r"vision_tower\."}
        super().post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """`False`: transformers suspects custom code of an `_init_weights` that overwrites loaded weights, and asks it
        about modules with weights of their own alone. CLIP's towers set theirs from one level above."""
        return False

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; the towers that the configuration freezes are frozen again after loading."""
        if args and isinstance(args[0], (str, os.PathLike)) and (adapter := Path(args[0], _ADAPTER_CONFIG)).is_file():
            base_of_adapter(adapter)
        with naming_damage(args[0] if args else kwargs.get("pretrained_model_name_or_path")):
            loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True returns a pair
        model.freeze_towers()
        model.starts_from_checkpoint = True
        return loaded

    def load_adapter(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; an adapter that would leave some of its parts with random weights is refused.

        Raises:
            ValueError: weights that are not in the file, or that this version of transformers does not restore.
        """
        try:
            report = super().load_adapter(*args, **kwargs)
        except (AttributeError, KeyError, TypeError) as error:  # of settings that peft reads without looking
            folder = kwargs.get("peft_model_id", args[0] if args else "the adapter")
            raise ValueError(
                f"{folder}: {_ADAPTER_CONFIG} is not one that peft can read: {type(error).__name__}, {error}"
            ) from error
        if report.missing_keys:
            raise ValueError(
                f"The adapter was not loaded in full, {sorted(report.missing_keys)} are missing. Old versions of "
                "transformers leave out modules_to_save: upgrade, or peft.PeftModel.from_pretrained(model, folder)."
            )
        return report

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision: str | None,
        text: str | None,
        preset: str | None = None,
        hub_kwargs: dict[str, Any] | None = None,
        config: TimesCLIPConfig | None = None,
        **config_fields: Any,
    ) -> Any:
        """A model whose towers come from checkpoints; everything else starts from random weights.

        The processor draws what this vision tower was trained on, and the model knows what the processor learnt:

        ```python
        >>> config = TimesCLIPConfig.from_vision_text_pretrained(clip, clip, num_variates=7, context_length=36)
        >>> processor = TimesCLIPProcessor.from_config(config).fit(train)
        >>> config = processor.complete_config(config)
        >>> model = TimesCLIPForRegression.from_vision_text_pretrained(clip, clip, config=config)
        ```

        Args:
            vision: Hub id or folder of a CLIP or SigLIP pair, of a model of another vision family, or of a TimesCLIP
                model; `"timesclip-small"`, which ships; `"tiny"`: a small one of random weights, beside a text tower
                that reads; `None`: no vision branch.
            text: the same for the text tower; the same name twice is the normal case. A TimesCLIP model gives its
                tokenizer, too. Of language models, BERT and T5 by themselves.
            preset: one of `PRESETS`; not with `config`. `None`: as the towers ask for, see `TimesCLIPConfig`.
            hub_kwargs: passed to both downloads (`token`, `cache_dir`, `local_files_only`, ...).
            config: of the model, made by `TimesCLIPConfig.from_vision_text_pretrained` of the same checkpoints.
            **config_fields: fields of `TimesCLIPConfig`, in place of `config`.

        Raises:
            ValueError: an unsupported family, a checkpoint that lacks weights of its tower, a preset without the
                branch that a checkpoint was given for, or a `config` of other towers or, for the linear tokenizer of
                a TimesCLIP model, of other patches.
        """
        if config is None:
            config = TimesCLIPConfig.from_vision_text_pretrained(vision, text, preset, hub_kwargs, **config_fields)
        elif config_fields or preset not in (None, "full"):
            raise ValueError("config was given: the preset and other fields belong into it")
        model: Any = cls(config)
        for branch, name in (("vision", vision), ("text", text)):
            tower = getattr(model.base_model, f"{branch}_tower")
            if (tower is None) != (name is None):
                raise ValueError(
                    f"{branch} is {name!r}, but config has {'no' if tower is None else 'a'} {branch}_config"
                )
            layer = config.vision_feature_layer if branch == "vision" else None
            for part, loaded in _load_parts(name, branch, hub_kwargs or {}, layer).items() if name is not None else ():
                try:
                    getattr(model.base_model, part).load_state_dict(loaded.state_dict())
                except RuntimeError as error:  # torch lists the weights that differ
                    what = f"another {branch} tower" if part != "tokenizer" else "a tokenizer of other patches"
                    raise ValueError(f"{name} has {what} than config: {error}") from error
        model.starts_from_checkpoint = True
        model.random_towers = tuple(branch for branch, name in (("vision", vision), ("text", text)) if _is_shape(name))
        return model

    def freeze_towers(self) -> None:
        """Takes the towers that the configuration freezes out of training (loading weights makes all trainable)."""
        base: Any = self.base_model
        for tower, freeze in (
            (base.vision_tower, self.config.freeze_vision),
            (base.text_tower, self.config.freeze_text),
        ):
            if tower is not None and freeze:
                tower.requires_grad_(False).eval()
        if base.vision_tower is not None:
            leave_out_unread(base.vision_tower, self.config.vision_pooling)


def base_of_adapter(file: str | os.PathLike[str]) -> str:
    """Name of the model that a saved adapter belongs to, from its adapter_config.json.

    Raises:
        ValueError: the file is damaged, or names none.
    """
    try:
        name = parse_object(Path(file).read_text(encoding="utf-8")).get("base_model_name_or_path")
        if not isinstance(name, str) or not name:
            raise ValueError(f"base_model_name_or_path must name the base model, found {name!r}")
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    return name


def _is_shape(name: str | None) -> bool:
    return name is not None and is_shape(name)


def _load_parts(name: str, branch: str, hub_kwargs: dict[str, Any], layer: int | None) -> dict[str, Any]:
    """What a checkpoint gives to a branch, by its name there: the tower, as far as a layer is read, and, of ours, the
    tokenizer."""
    if is_shape(name):
        return {}
    if not is_timesclip(name, **hub_kwargs):
        if branch == "vision":
            return {"vision_tower": load_vision_tower(name, layer, **hub_kwargs)}
        return {"text_tower": load_text_tower(name, **hub_kwargs)}
    from .branches import TimesCLIPModel  # whose base class is above

    parts = ("vision_tower",) if branch == "vision" else ("text_tower", "tokenizer")
    # As far as it is read; a projection behind it may then be of another width, and is not.
    fields = {"vision_feature_layer": layer, "ignore_mismatched_sizes": True} if branch == "vision" else {}
    source = load_quietly(TimesCLIPModel, name, {**fields, **hub_kwargs}, tuple(f"{part}." for part in parts))
    return {part: getattr(source, part) for part in parts}


__all__ = ["TimesCLIPPreTrainedModel", "base_of_adapter"]
