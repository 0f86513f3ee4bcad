# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP (arXiv 2506.24124): a series seen as line plots and spoken as patches, and the models built on both."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .configuration_timesclip import PRESETS, TimesCLIPConfig
from .layers import (
    AlignmentObjective,
    CrossAttentionSelection,
    EmbedProjection,
    GatedVariateSelection,
    PatchTokenizer,
    PredictionHead,
    SampleHead,
    VariateTokenizer,
    ZeroLinear,
)
from .losses import task_loss, weigh_by_share
from .outputs import (
    TimesCLIPClassificationOutput,
    TimesCLIPOutput,
    TimesCLIPPredictionOutput,
    TimesCLIPPreTrainingOutput,
    TimesCLIPRegressionOutput,
)
from .remote_code import CarriesModelCode
from .tasks import Task
from .towers import (
    build_text_tower,
    build_vision_tower,
    checkpoint_image_statistics,
    encode_images,
    encode_images_in_chunks,
    encode_tokens,
    is_trained,
    load_text_tower,
    load_vision_tower,
    record_tokens,
    rest_where_frozen,
    text_width,
    vision_width,
)


class TimesCLIPPreTrainedModel(CarriesModelCode, PreTrainedModel):
    """Loading, saving and initialisation shared by all TimesCLIP models."""

    config: TimesCLIPConfig
    config_class = TimesCLIPConfig
    task = Task(name="embeds", auto_classes={"AutoModel": "TimesCLIPModel"}, has_labels=False)
    base_model_prefix = "timesclip"
    main_input_name = "patch_values"
    input_modalities = ["image", "time"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["logit_scale", "log_variances"]
    # Whether the weights came from a checkpoint; a configuration may name one whose weights were never loaded.
    starts_from_checkpoint = False
    # Losses are means over the batch, so Trainer must go on dividing them by the accumulation steps.
    accepts_loss_kwargs = False

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        """Keys of the processor's batch on which this model's answer depends; its losses may read more of them."""
        names = {"pixel_values"} if config.vision_config is not None else set()
        names |= {"patch_values", "patch_mask"} if config.text_config is not None else set()
        return names | ({"variate_values"} if config.variate_selection == "cross_attention" else set())

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
            return
        super()._init_weights(module)
        if isinstance(module, (PatchTokenizer, VariateTokenizer)):
            init.normal_(module.position_embedding, std=self.config.initializer_range)
        if isinstance(module, PatchTokenizer):
            init.normal_(module.cls_token, std=self.config.initializer_range)
        elif isinstance(module, AlignmentObjective):
            config = module.config
            if config.learn_logit_scale:
                init.constant_(module.logit_scale, config.logit_scale_init_value)
            if module.weighting == "uncertainty":  # start from weights 1 and lambda
                start = torch.tensor([1.0, config.alignment_weight]).log().neg()
                init.copy_(module.log_variances, start)
            if module.weighting == "warmup":
                init.zeros_(module.training_batches)

    def post_init(self) -> None:
        """As in transformers; of the weights that stay in fp32, only those are named that this model has."""
        own_names = {name.rpartition(".")[2] for name, _ in self.named_parameters()}
        self._keep_in_fp32_modules_strict = [n for n in self._keep_in_fp32_modules_strict if n in own_names]
        super().post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """`False`: transformers suspects custom code of an `_init_weights` that overwrites loaded weights, and asks it
        about modules with weights of their own alone. CLIP's towers set theirs from one level above."""
        return False

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; the towers that the configuration freezes are frozen again after loading."""
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
        report = super().load_adapter(*args, **kwargs)
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
        preset: str = "full",
        hub_kwargs: dict[str, Any] | None = None,
        **config_fields: Any,
    ) -> Any:
        """A model whose towers come from checkpoints; everything else starts from random weights.

        Args:
            vision: Hub id or folder of a CLIP or SigLIP pair, or of a model of another vision family; `None`: no
                vision branch.
            text: the same for the text tower; the same name twice is the normal case.
            preset: one of `PRESETS`.
            hub_kwargs: passed to both downloads (`token`, `cache_dir`, `local_files_only`, ...).
            **config_fields: fields of `TimesCLIPConfig`.

        Raises:
            ValueError: an unsupported family, a checkpoint that lacks weights of its tower, or a preset without the
                branch that a checkpoint was given for.
        """
        for name, tower in (("vision", vision), ("text", text)):
            absent = f"{name}_config" in PRESETS.get(preset, {})
            if absent != (tower is None):
                found = "a checkpoint was given for it" if absent else f"{name}=None was given"
                raise ValueError(f"preset {preset!r} has {'no' if absent else 'a'} {name} branch, but {found}.")
        hub_kwargs = hub_kwargs or {}
        vision_tower = load_vision_tower(vision, **hub_kwargs) if vision is not None else None
        text_tower = load_text_tower(text, **hub_kwargs) if text is not None else None
        statistics = checkpoint_image_statistics(vision, **hub_kwargs) if vision is not None else {}
        fields = {
            **statistics,
            **config_fields,
            "vision_config": vision_tower.config if vision_tower is not None else None,
            "text_config": text_tower.config if text_tower is not None else None,
        }
        model: Any = cls(TimesCLIPConfig.from_preset(preset, **fields))
        if vision_tower is not None:
            model.base_model.vision_tower.load_state_dict(vision_tower.state_dict())
        if text_tower is not None:
            model.base_model.text_tower.load_state_dict(text_tower.state_dict())
        model.starts_from_checkpoint = True
        return model

    def _check_shape(self, name: str, tensor: Tensor, expected: tuple[int | None, ...]) -> None:
        """Everything behind the batch dimension; `None` stands for any size."""
        found = tuple(tensor.shape[1:])
        if len(found) != len(expected) or any(e is not None and e != f for e, f in zip(expected, found, strict=True)):
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected (batch, {wanted}) as the configuration says. "
                "Was the processor made with TimesCLIPProcessor.from_config of this model's config?"
            )

    def _combine_losses(
        self, own_loss: Tensor, labels: Tensor, outputs: TimesCLIPOutput
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What training minimises, the task loss (in training weighted by its share) and the contrastive term."""
        objective: Any = self.alignment
        if objective is None:
            own_loss = weigh_by_share(own_loss, labels) if self.training else own_loss
            return own_loss, own_loss, None
        own_loss = objective.weigh(own_loss, labels)
        contrast = objective(outputs.image_embeds, outputs.text_embeds)
        return objective.combine(own_loss, contrast), own_loss, contrast

    def _wants_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)

    def freeze_towers(self) -> None:
        """Takes the towers that the configuration freezes out of training (loading weights makes all trainable)."""
        base: Any = self.base_model
        for tower, freeze in (
            (base.vision_tower, self.config.freeze_vision),
            (base.text_tower, self.config.freeze_text),
        ):
            if tower is not None and freeze:
                tower.requires_grad_(False).eval()


class TimesCLIPModel(TimesCLIPPreTrainedModel):
    """Both branches and the variate selection: series in, embeds out.

    Args:
        config: a branch whose sub-config is `None` has no parameters and costs nothing.
        add_text_projection: `False` for models that read the text tower's tokens and never compare embeds.
        add_variate_selection: `False` for models that have no use for it, whatever the configuration says.
    """

    def __init__(self, config: TimesCLIPConfig, add_text_projection: bool = True, add_variate_selection: bool = True):
        super().__init__(config)
        dim = config.projection_dim
        self.vision_tower: Any = None
        self.vision_projection: Any = None
        self.text_tower: Any = None
        self.tokenizer: Any = None
        self.text_projection: Any = None
        self.variate_tokenizer: Any = None
        self.variate_selection: Any = None
        if config.vision_config is not None:
            self.vision_tower = build_vision_tower(config.vision_config)
            self.vision_projection = EmbedProjection(vision_width(config.vision_config), dim)
        if config.text_config is not None:
            self.text_tower = build_text_tower(config.text_config)
            self.tokenizer = PatchTokenizer(config)
        if config.text_config is not None and add_text_projection:
            self.text_projection = EmbedProjection(text_width(config.text_config), dim)
        if add_variate_selection and config.variate_selection == "gated":
            self.variate_selection = GatedVariateSelection(config)
        elif add_variate_selection and config.variate_selection == "cross_attention":
            self.variate_tokenizer = VariateTokenizer(config)
            self.variate_selection = CrossAttentionSelection(config)
        self.post_init()
        self.freeze_towers()

    def train(self, mode: bool = True) -> "TimesCLIPModel":
        """Training mode for all but the frozen towers: their dropout and statistics must not move."""
        super().train(mode)
        for tower in (self.vision_tower, self.text_tower):
            if tower is not None and mode:
                rest_where_frozen(tower)
        return self

    def get_input_embeddings(self) -> Any:
        """The tokenizer's projection: what stands where a language model has its word embeddings."""
        return self.tokenizer.projection if self.tokenizer is not None else None

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Puts another module in the place of the tokenizer's projection."""
        self.tokenizer.projection = value

    def get_vision_features(self, pixel_values: Tensor) -> Tensor:
        """Pooled features of the vision tower `(B, V, width)` for images `(B, V, 3, height, width)`."""
        self._check_shape("pixel_values", pixel_values, (self.config.num_variates, 3, None, None))
        images = pixel_values.flatten(0, 1)  # (B * V, 3, height, width)
        trained = torch.is_grad_enabled() and is_trained(self.vision_tower)
        encode = encode_images if trained else encode_images_in_chunks
        features = encode(self.vision_tower, images, self.config.vision_chunk_size)
        return features.unflatten(0, pixel_values.shape[:2])

    def _text_inputs(self, patch_values: Tensor, patch_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Patches as tokens `(B * V, 1 + N, width)`, CLS first, and which of them count."""
        config = self.config
        self._check_shape("patch_values", patch_values, (config.num_variates, config.num_patches, config.patch_length))
        tokens = self.tokenizer(patch_values.flatten(0, 1))  # (B * V, 1 + N, width)
        mask = None
        if patch_mask is not None:
            self._check_shape("patch_mask", patch_mask, (config.num_variates, config.num_patches))
            mask = F.pad(patch_mask.flatten(0, 1).bool(), (1, 0), value=True)  # the CLS token always counts
        return tokens, mask

    def get_text_tokens(self, patch_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """The text tower's output `(B, V, 1 + N, width)`, CLS first, for patches `(B, V, N, L)`.

        Patches that `patch_mask` `(B, V, N)` marks False are invisible to all others.
        """
        tokens, mask = self._text_inputs(patch_values, patch_mask)
        tokens = encode_tokens(self.text_tower, tokens, mask, self.config.text_chunk_size)
        return tokens.unflatten(0, patch_values.shape[:2])

    def _get_recorded_text_tokens(
        self, patch_values: Tensor, patch_mask: Tensor | None, hidden_states: bool | list[int], attentions: bool
    ) -> dict[str, Any]:
        """`get_text_tokens`, and what the text tower's layers did on the way there, as it was: gradients reach it."""
        tokens, mask = self._text_inputs(patch_values, patch_mask)
        recorded = record_tokens(self.text_tower, tokens, mask, hidden_states, attentions)
        return {
            "text_tokens": recorded["last_hidden_state"].unflatten(0, patch_values.shape[:2]),
            "hidden_states": recorded.hidden_states,
            "attentions": recorded.attentions or None,  # fused kernels give none
        }

    def get_text_embeds(self, patch_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Embeds `(B, V, D)` of patches `(B, V, N, L)`; patches masked False are invisible to all others."""
        return self.text_projection(self.get_text_tokens(patch_values, patch_mask)[:, :, 0])

    def get_variate_tokens(self, variate_values: Tensor | None) -> Tensor:
        """The text tower's output `(B, V, width)` for whole scaled series `(B, V, T)`, one token each."""
        if variate_values is None:
            raise ValueError(
                "variate_selection='cross_attention': give the variate_values that the processor returns."
            )
        config = self.config
        self._check_shape("variate_values", variate_values, (config.num_variates, config.context_length))
        chunk_tokens = config.text_chunk_size * (config.num_patches + 1)  # as many as in a chunk of patch sequences
        chunk_size = max(1, chunk_tokens // config.num_variates)
        return encode_tokens(self.text_tower, self.variate_tokenizer(variate_values), None, chunk_size)

    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        skip_vision: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPOutput | tuple:
        """Reads a batch that the processor made.

        Args:
            patch_values: `(B, V, N, L)`, for a model with a text branch.
            patch_mask: `(B, V, N)` bool, False for patches with nothing observed.
            pixel_values: `(B, V, 3, height, width)`, for a model with a vision branch.
            vision_features: `(B, V, width)`, features computed earlier, in place of `pixel_values`.
            variate_values: `(B, V, T)`, for `variate_selection="cross_attention"`.
            loc, scale, static_values: not used here; taken so that every batch of the processor fits.
            skip_vision: leave the vision branch out, whatever inputs there are; its embeds are then absent.
            output_attentions: return the attention between variates, and between the tokens of each one in every layer
                of the text tower (needs `attn_implementation="eager"`). `None`: as the configuration says.
            output_hidden_states: return the tokens between the text tower's layers; a list: of these layers alone.
                `None`: as the configuration says.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: an input that a branch needs is missing or has the wrong shape.
        """
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        image_embeds = text_embeds = text_tokens = selected_embeds = selection_attentions = None
        recorded: dict[str, Any] = {}
        if self.vision_tower is not None and not skip_vision:
            if vision_features is None:
                if pixel_values is None:
                    raise ValueError("This model has a vision branch: give pixel_values or vision_features.")
                vision_features = self.get_vision_features(pixel_values)
            self._check_shape(
                "vision_features", vision_features, (config.num_variates, vision_width(config.vision_config))
            )
            image_embeds = self.vision_projection(vision_features)
        else:
            vision_features = None
        if self.text_tower is not None:
            if patch_values is None:
                raise ValueError("This model has a text branch: give patch_values.")
            if output_hidden_states or output_attentions:
                recorded = self._get_recorded_text_tokens(
                    patch_values, patch_mask, output_hidden_states or False, bool(output_attentions)
                )
                text_tokens = recorded.pop("text_tokens")
            else:
                text_tokens = self.get_text_tokens(patch_values, patch_mask)
            if self.text_projection is not None:
                text_embeds = self.text_projection(text_tokens[:, :, 0])
        if image_embeds is None and text_tokens is None:
            raise ValueError("skip_vision=True leaves nothing of a model without a text branch.")
        branches = [part for part in (image_embeds, text_tokens) if part is not None]
        if branches[0].shape[0] != branches[-1].shape[0]:  # not `len`, which a graph for any batch cannot hold
            raise ValueError(
                f"The vision branch was given {len(branches[0])} samples, the text branch {len(branches[-1])}; "
                "they must be the same samples."
            )
        if self.variate_tokenizer is not None:
            variate_tokens = self.get_variate_tokens(variate_values)
            selected_embeds, selection_attentions = self.variate_selection(
                text_embeds, variate_tokens, bool(output_attentions)
            )
        elif self.variate_selection is not None:
            fused = sum(embeds for embeds in (image_embeds, text_embeds) if embeds is not None)
            selected_embeds, selection_attentions = self.variate_selection(fused, bool(output_attentions))
        outputs = TimesCLIPOutput(
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            text_tokens=text_tokens,
            selected_embeds=selected_embeds,
            vision_features=vision_features,
            selection_attentions=selection_attentions,
            **recorded,
        )
        return outputs if self._wants_dict(return_dict) else outputs.to_tuple()


class _SampleModel(TimesCLIPPreTrainedModel):
    """What models share that say something about a series as a whole: body, head and alignment.

    Args:
        config: as for the models.
        num_outputs: numbers that the head gives for a sample.
    """

    def __init__(self, config: TimesCLIPConfig, num_outputs: int):
        super().__init__(config)
        if config.use_loc_scale and config.variate_mean is None:
            raise ValueError(
                "use_loc_scale=True needs variate_mean and variate_std; processor.complete_config sets them."
            )
        self.timesclip = TimesCLIPModel(config)
        self.head = SampleHead(config, num_outputs)
        self.alignment = AlignmentObjective(config) if config.alignment is not None else None
        self.post_init()
        self.freeze_towers()

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        names = super().answer_inputs(config) | ({"loc", "scale"} if config.use_loc_scale else set())
        return names | ({"static_values"} if config.num_static_features else set())

    def _apply_head(
        self, outputs: TimesCLIPOutput, loc: Tensor | None, scale: Tensor | None, static_values: Tensor | None
    ) -> Tensor:
        """The head's answer `(B, num_outputs)` in fp32."""
        parts = [outputs.image_embeds, outputs.text_embeds, outputs.selected_embeds]
        if self.config.use_loc_scale:
            parts.append(self._standardised_loc_scale(loc, scale))
        variates = torch.cat([part for part in parts if part is not None], dim=-1)
        return self.head(variates, self._checked_static(static_values)).float()

    def _standardised_loc_scale(self, loc: Tensor | None, scale: Tensor | None) -> Tensor:
        """Level and spread of each variate in units of the training data, `(B, V, 2)`."""
        if loc is None or scale is None:
            raise ValueError("use_loc_scale=True: give the loc and scale that the processor returns.")
        self._check_shape("loc", loc, (self.config.num_variates,))
        self._check_shape("scale", scale, (self.config.num_variates,))
        mean, std = loc.new_tensor(self.config.variate_mean), loc.new_tensor(self.config.variate_std)
        return torch.stack([(loc - mean) / std, scale / std], dim=-1).to(self.dtype)

    def _checked_static(self, static_values: Tensor | None) -> Tensor | None:
        if self.config.num_static_features == 0:
            return None
        if static_values is None:
            raise ValueError(
                f"This model was built with {self.config.num_static_features} static features: give static_values."
            )
        self._check_shape("static_values", static_values, (self.config.num_static_features,))
        return static_values


class TimesCLIPForRegression(_SampleModel):
    """TimesCLIP with a head that gives numbers, such as the yield of a field.

    Args:
        config: `target_mean` and `target_std` bring predictions to original units; `processor.complete_config` sets
            them from the training data.
    """

    task = Task(
        name="regression",
        answer="predictions",
        best_metric="rmse",
        metrics="compute_regression_metrics",
        auto_classes={"AutoModel": "TimesCLIPForRegression"},
        purpose="predicts {targets}",
        result="a number for each target, in original units",
        errors_in="targets",
    )

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config, config.num_targets)

    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPRegressionOutput | tuple:
        """Predicts, and measures the prediction when labels are given.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, variate_values, output_attentions,
                output_hidden_states, return_dict: see `TimesCLIPModel.forward`.
            loc, scale: `(B, V)` in raw units, what the processor subtracted and divided by; read with `use_loc_scale`.
            static_values: `(B, num_static_features)` as the processor encodes them.
            labels: `(B, num_targets)` in original units.

        Raises:
            ValueError: an input is missing or has the wrong shape; labels never broadcast.
        """
        outputs = self.timesclip(
            patch_values=patch_values,
            patch_mask=patch_mask,
            pixel_values=pixel_values,
            vision_features=vision_features,
            variate_values=variate_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        standardised = self._apply_head(outputs, loc, scale, static_values)
        mean = standardised.new_tensor(self.config.target_mean or [0.0] * self.config.num_targets)
        std = standardised.new_tensor(self.config.target_std or [1.0] * self.config.num_targets)
        predictions = standardised * std + mean

        loss = own_loss = contrast = None
        if labels is not None:
            if labels.shape != standardised.shape:
                raise ValueError(
                    f"labels have shape {tuple(labels.shape)}, expected (batch, num_targets) = "
                    f"{tuple(standardised.shape)}; reshape them, they are never broadcast."
                )
            errors = standardised - (labels.float() - mean) / std
            own_loss = task_loss(errors, predictions, labels, self.config.loss)
            loss, own_loss, contrast = self._combine_losses(own_loss, labels, outputs)
        result = TimesCLIPRegressionOutput(
            loss=loss, predictions=predictions, task_loss=own_loss, alignment_loss=contrast, **outputs
        )
        return result if self._wants_dict(return_dict) else result.to_tuple()


class TimesCLIPForClassification(_SampleModel):
    """TimesCLIP with a head that tells classes apart.

    Args:
        config: `num_labels`, or `id2label` and `label2id` with the classes' names.
    """

    task = Task(
        name="classification",
        answer="logits",
        best_metric="log_loss",
        metrics="compute_classification_metrics",
        auto_classes={"AutoModel": "TimesCLIPForClassification"},
        purpose="tells {num_labels} classes apart: {classes}",
        result="the likeliest class and its probability",
    )

    def __init__(self, config: TimesCLIPConfig):
        classes = config.num_labels or 0
        if classes < 2:
            raise ValueError(f"num_labels is {classes}: a classifier needs at least two classes.")
        super().__init__(config, classes)

    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPClassificationOutput | tuple:
        """Scores each class, and measures the scores when labels are given.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, variate_values, output_attentions,
                output_hidden_states, return_dict: see `TimesCLIPModel.forward`.
            loc, scale, static_values: see `TimesCLIPForRegression.forward`.
            labels: `(B,)` integers from 0 to `num_labels - 1`.

        Raises:
            ValueError: an input is missing, has the wrong shape, or is no class.
        """
        outputs = self.timesclip(
            patch_values=patch_values,
            patch_mask=patch_mask,
            pixel_values=pixel_values,
            vision_features=vision_features,
            variate_values=variate_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self._apply_head(outputs, loc, scale, static_values)

        loss = own_loss = contrast = None
        if labels is not None:
            self._check_classes(labels, logits)
            own_loss = F.cross_entropy(logits, labels.long())
            loss, own_loss, contrast = self._combine_losses(own_loss, labels, outputs)
        result = TimesCLIPClassificationOutput(
            loss=loss, logits=logits, task_loss=own_loss, alignment_loss=contrast, **outputs
        )
        return result if self._wants_dict(return_dict) else result.to_tuple()

    def _check_classes(self, labels: Tensor, logits: Tensor) -> None:
        if labels.shape != logits.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}, expected (batch,) = "
                f"({len(logits)},) integers, one class a sample."
            )
        # Reading values would make an accelerator wait, and has no place in a compiled graph; there, out-of-range
        # classes raise in the loss itself.
        classes = logits.shape[1]
        readable = labels.device.type == "cpu" and not torch.compiler.is_compiling()
        if readable and not bool(((labels >= 0) & (labels < classes)).all()):
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, expected 0 to "
                f"{classes - 1}; set num_labels in the configuration to the number of classes."
            )


class TimesCLIPForPrediction(TimesCLIPPreTrainedModel):
    """TimesCLIP as a forecaster: the next H steps of every variate.

    In the paper's form (`preset="paper"`) the plots only teach: through the alignment loss they shape the text
    branch, which alone leads to the forecast. Without labels such a model leaves the vision branch out.

    Args:
        config: `prediction_length`, `fusion`, `loss`, `error_scale`; `processor.complete_config` sets `variate_std`.

    Raises:
        ValueError: a vision branch that has no way to the forecast and nothing to align with.
    """

    task = Task(
        name="forecasting",
        answer="predictions",
        metrics="compute_forecast_metrics",
        auto_classes={
            "AutoModel": "TimesCLIPModel",
            "AutoModelForTimeSeriesPrediction": "TimesCLIPForPrediction",
        },
        purpose="forecasts the next {prediction_length} steps of each",
        result="the steps that follow, (steps, variates), in original units",
        errors_in="variates",
        reads_newest_steps=True,
    )

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        names = super().answer_inputs(config) | {"loc", "scale"}
        if config.text_config is not None and config.variate_selection != "gated":
            names.discard("pixel_values")  # plots teach the text branch, which alone leads to the forecast
        return names | ({"variate_values"} if config.linear_shortcut else set())

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config)
        self.vision_is_read = "pixel_values" in self.answer_inputs(config)
        if config.vision_config is not None and config.alignment is None and not self.vision_is_read:
            raise ValueError(
                "The vision branch would have no effect: without alignment, its embeds reach a forecast only through "
                "variate_selection='gated'. Choose an alignment or that selection, or set vision_config=None."
            )
        compared = config.alignment is not None or config.variate_selection is not None
        self.timesclip = TimesCLIPModel(config, add_text_projection=compared)
        self.head = PredictionHead(config)
        self.alignment = AlignmentObjective(config) if config.alignment is not None else None
        self.post_init()
        self.freeze_towers()

    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPPredictionOutput | tuple:
        """Forecasts, and measures the forecast when labels are given.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, output_attentions, output_hidden_states,
                return_dict: see `TimesCLIPModel.forward`. Images are not read without labels where plots only teach.
            variate_values: `(B, V, T)`, for `variate_selection="cross_attention"` and `linear_shortcut`.
            loc, scale: `(B, V)` in raw units, what the processor subtracted and divided by; given back to forecasts.
            static_values: not used here; taken so that every batch of the processor fits.
            labels: `(B, H, V)` in original units; NaN = not observed.

        Raises:
            ValueError: an input is missing or has the wrong shape; labels never broadcast.
        """
        config = self.config
        if loc is None or scale is None:
            raise ValueError("Give the loc and scale that the processor returns: they bring forecasts to raw units.")
        for name, statistic in (("loc", loc), ("scale", scale)):
            self._check_shape(name, statistic, (config.num_variates,))
        if variate_values is not None:
            self._check_shape("variate_values", variate_values, (config.num_variates, config.context_length))
        given = {"patch_values": patch_values, "variate_values": variate_values, "loc": loc, "scale": scale}
        sizes = {name: tensor.shape[0] for name, tensor in given.items() if tensor is not None}
        if any(size != loc.shape[0] for size in sizes.values()):
            raise ValueError(f"All inputs must have one row for each sample, got {sizes}.")
        outputs = self.timesclip(
            patch_values=patch_values,
            patch_mask=patch_mask,
            pixel_values=pixel_values,
            vision_features=vision_features,
            variate_values=variate_values,
            skip_vision=labels is None and not self.vision_is_read,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        scaled = self.head(outputs.text_tokens, outputs.image_embeds, outputs.selected_embeds, variate_values)
        scaled = scaled.float().transpose(1, 2)  # (B, H, V)
        loc, scale = loc[:, None], scale[:, None]
        predictions = scaled * scale + loc

        loss = own_loss = contrast = None
        if labels is not None:
            self._check_shape("labels", labels, (config.prediction_length, config.num_variates))
            if len(labels) != len(scaled):
                raise ValueError(f"labels have {len(labels)} samples, the series {len(scaled)}.")
            # Subtracted while scaled: a level far above its changes would eat the digits that count.
            errors = scaled - (labels.float() - loc) / scale
            if config.error_scale == "dataset":
                errors = errors * scale / scaled.new_tensor(config.variate_std or [1.0] * config.num_variates)
            own_loss = task_loss(errors, predictions, labels, config.loss)
            loss, own_loss, contrast = self._combine_losses(own_loss, labels, outputs)
        result = TimesCLIPPredictionOutput(
            loss=loss, predictions=predictions, task_loss=own_loss, alignment_loss=contrast, **outputs
        )
        return result if self._wants_dict(return_dict) else result.to_tuple()


class TimesCLIPForPreTraining(TimesCLIPPreTrainedModel):
    """Alignment alone: both branches learn to recognise each other's reading of a series, without any target.

    What it learns is loaded by the other models' `from_pretrained`, which add the parts that it has no use for.

    Args:
        config: with both branches and an `alignment`; variate selection is left out.

    Raises:
        ValueError: nothing to align.
    """

    task = Task(
        name="pre-training",
        auto_classes={"AutoModel": "TimesCLIPModel", "AutoModelForPreTraining": "TimesCLIPForPreTraining"},
        purpose="was pre-trained without targets: its two branches recognise each other's reading of a series",
        has_labels=False,
    )

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config)
        if config.alignment is None:
            raise ValueError(
                "Pre-training is alignment alone: the configuration needs both branches and an alignment."
            )
        self.timesclip = TimesCLIPModel(config, add_variate_selection=False)
        self.alignment = AlignmentObjective(config, alone=True)
        self.post_init()
        self.freeze_towers()

    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        return_loss: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPPreTrainingOutput | tuple:
        """Embeds of both branches and how well they agree.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, output_attentions, output_hidden_states,
                return_dict: see `TimesCLIPModel.forward`.
            variate_values, loc, scale, static_values: not used here; taken so that every batch of the processor fits.
            return_loss: `False` for embeds alone.

        Raises:
            ValueError: an input is missing or has the wrong shape.
        """
        outputs = self.timesclip(
            patch_values=patch_values,
            patch_mask=patch_mask,
            pixel_values=pixel_values,
            vision_features=vision_features,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        contrast = self.alignment(outputs.image_embeds, outputs.text_embeds) if return_loss else None
        result = TimesCLIPPreTrainingOutput(loss=contrast, alignment_loss=contrast, **outputs)
        return result if self._wants_dict(return_dict) else result.to_tuple()


__all__ = [
    "TimesCLIPClassificationOutput",
    "TimesCLIPForClassification",
    "TimesCLIPForPreTraining",
    "TimesCLIPForPrediction",
    "TimesCLIPForRegression",
    "TimesCLIPModel",
    "TimesCLIPOutput",
    "TimesCLIPPreTrainedModel",
    "TimesCLIPPreTrainingOutput",
    "TimesCLIPPredictionOutput",
    "TimesCLIPRegressionOutput",
]
