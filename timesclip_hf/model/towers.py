# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The two pretrained encoders: what to build for a family of transformers models, and how to ask it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    BertModel,
    CLIPTextModel,
    CLIPVisionModel,
    Dinov2Model,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetModel,
    SiglipTextModel,
    SiglipVisionModel,
    SwinModel,
    T5EncoderModel,
    ViTModel,
)
from transformers.core_model_loading import revert_weight_conversion
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging
from transformers.utils.output_capturing import capture_outputs

from .feature_layers import end_at_layer, layer_number, up_to_layer
from .ink import Blanks, encode_ink
from .tower_configs import WITHOUT_CLS, checkpoint_folder, load_tower_config

# torch 2.6 does not tell the two apart.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class ResNetTower(ResNetModel):
    """ResNet, which has no attention: whatever implementation of it is asked of the whole model suits."""

    _supports_sdpa = True


class SwinTower(SwinModel):
    """Swin, whose patch embedding returns more than a tensor: what it is asked for by those who hook onto it (adapters
    with activation checkpointing) is the convolution inside."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embeddings.projection


@dataclass(frozen=True)
class VisionFamily:
    """One family of vision towers: its class, where its pooled feature is, and how its tokens are read.

    `tokens` gives `(n, length, width)` behind the tower's last norm, which `norm` names, the CLS token first where
    there is one (see `WITHOUT_CLS`); `unread` names a part that only the pooled feature passes through. `arguments` go
    to the class, `settings` to its configuration; both leave out weights that no image passes through (DDP refuses
    them, and a frozen tower would carry random ones). `mixes_images`: in training mode the images of a batch have an
    effect on each other, so it cannot be split.
    """

    model_class: type[PreTrainedModel]
    pool: Callable[[Any], Tensor] = lambda outputs: outputs.pooler_output.flatten(1)  # ResNet's is (n, width, 1, 1)
    tokens: Callable[[Any, Any], Tensor] = lambda tower, outputs: outputs.last_hidden_state
    norm: str | None = "layernorm"
    unread: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mixes_images: bool = False


@capture_outputs
def _record_layers(tower: Any, hidden: Tensor, mask: Tensor | None, **_: Any) -> BaseModelOutput:
    """What transformers' own forward of the tower is wrapped in, round our way through its layers."""
    return BaseModelOutput(last_hidden_state=TEXT_FAMILIES[tower.config.model_type].encode(tower, hidden, mask))


def _record_t5(tower: Any, hidden: Tensor, mask: Tensor | None, **wanted: Any) -> BaseModelOutput:
    """T5's stack is asked by its own forward, so it records by itself."""
    return tower(inputs_embeds=hidden, attention_mask=mask, return_dict=True, **wanted)


@dataclass(frozen=True)
class TextFamily:
    """One family of text towers: its class, what of it is kept, and how token vectors pass through the layers.

    `encode` gives the last tokens, `record` what happens in every layer too.
    """

    model_class: type[PreTrainedModel]
    strip: Callable[[Any], PreTrainedModel]
    encode: Callable[[Any, Tensor, Tensor | None], Tensor]
    arguments: dict[str, Any] = field(default_factory=dict)
    record: Callable[..., BaseModelOutput] = _record_layers


def _strip_clip(model: Any) -> PreTrainedModel:
    """Without embeddings, and without the projection that SigLIP keeps in its text model."""
    model.embeddings = nn.Identity()
    if hasattr(model, "head"):
        model.head = nn.Identity()
    return model


def _strip_bert(model: Any) -> PreTrainedModel:
    """Without the three tables; the norm behind them stays, for BERT's layers expect tokens that it has scaled."""
    for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        setattr(model.embeddings, table, None)
    return model


def _strip_t5(model: Any) -> PreTrainedModel:
    """The encoder's stack without words; its relative position bias is part of its first layer and stays."""
    model.encoder.embed_tokens = None
    return model.encoder


def _padding_mask(tower: Any, hidden: Tensor, mask: Tensor | None) -> Any:
    """`(n, length)` bool to what the tower's attention takes; `None` is attention in both directions to everything."""
    if mask is None:
        return None
    # Whether anything is masked at all is worth a look where looking is free; an accelerator would have to wait.
    looks: Any = {"allow_is_bidirectional_skip": mask.device.type == "cpu"}
    return create_bidirectional_mask(config=tower.config, inputs_embeds=hidden, attention_mask=mask, **looks)


def _encode_clip(tower: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """CLIP's and SigLIP's layers and final norm; both attend in both directions when no causal mask is given."""
    attention_mask = _padding_mask(tower, hidden, mask)
    hidden = tower.encoder(inputs_embeds=hidden, attention_mask=attention_mask).last_hidden_state
    return tower.final_layer_norm(hidden)


def _encode_bert(tower: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The norm of BERT's embeddings and its layers, each of which ends in a norm."""
    hidden = tower.embeddings.LayerNorm(hidden)
    return tower.encoder(hidden, attention_mask=_padding_mask(tower, hidden, mask)).last_hidden_state


def _encode_t5(tower: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """T5's encoder stack, which makes its own mask and position bias, and ends in a norm."""
    return tower(inputs_embeds=hidden, attention_mask=mask).last_hidden_state


VISION_FAMILIES: dict[str, VisionFamily] = {
    "clip_vision_model": VisionFamily(
        CLIPVisionModel,
        tokens=lambda tower, outputs: tower.post_layernorm(outputs.last_hidden_state),
        norm="post_layernorm",
    ),
    "siglip_vision_model": VisionFamily(SiglipVisionModel, norm="post_layernorm", unread="head"),
    # Published classifiers come without ViT's pooling layer and read the CLS token itself, so we do too.
    "vit": VisionFamily(
        ViTModel, pool=lambda outputs: outputs.last_hidden_state[:, 0], arguments={"add_pooling_layer": False}
    ),
    "dinov2": VisionFamily(Dinov2Model, settings={"use_mask_token": False}),
    "swin": VisionFamily(SwinTower),
    "resnet": VisionFamily(
        ResNetTower,
        tokens=lambda tower, outputs: outputs.last_hidden_state.flatten(2).transpose(1, 2),
        norm=None,
        mixes_images=True,  # batch norm
    ),
}
TEXT_FAMILIES: dict[str, TextFamily] = {
    "clip_text_model": TextFamily(CLIPTextModel, _strip_clip, _encode_clip),
    "siglip_text_model": TextFamily(SiglipTextModel, _strip_clip, _encode_clip),
    "bert": TextFamily(BertModel, _strip_bert, _encode_bert, arguments={"add_pooling_layer": False}),
    "t5": TextFamily(T5EncoderModel, _strip_t5, _encode_t5, record=_record_t5),
}


def text_width(config: Any) -> int:
    """Width of the token vectors that a text tower of this configuration reads and gives."""
    return config.d_model if config.model_type == "t5" else config.hidden_size


def text_feature_width(config: Any, pooling: str) -> int:
    """Width of the feature that a text tower of this configuration gives of a sequence."""
    return 2 * text_width(config) if pooling == "cls_mean" else text_width(config)


def build_vision_tower(config: PreTrainedConfig, layer: int | None = None) -> PreTrainedModel:
    """A vision tower with random weights; its images go in, its pooled features come out.

    Args:
        config: of the whole tower.
        layer: as `TimesCLIPConfig.vision_feature_layer`; nothing behind it is built.
    """
    family = VISION_FAMILIES[config.model_type]
    for name, value in family.settings.items():
        setattr(config, name, value)
    built = config if layer is None else up_to_layer(config, layer)
    tower = _build(family.model_class, built, family.arguments)
    if layer is not None:
        end_at_layer(tower, layer_number(config, layer), family.norm)
    tower.register_load_state_dict_pre_hook(_accept_published_names)
    return tower


def build_text_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """A text tower's layers with random weights, without its word and position embeddings.

    Numeric patches take the place of words, so the embedding table (25 M parameters in CLIP) would be dead weight.
    """
    family = TEXT_FAMILIES[config.model_type]
    return family.strip(_build(family.model_class, config, family.arguments))


def _build(model_class: type[PreTrainedModel], config: PreTrainedConfig, arguments: dict[str, Any]) -> PreTrainedModel:
    # Asked of the whole model, whose other parts can do it; alone, a T5 before transformers 5.17 would refuse.
    if config._attn_implementation == "sdpa" and not model_class._supports_sdpa:
        config._attn_implementation = "eager"
    config.return_dict = True  # a checkpoint may say otherwise, but its tower is ours to read
    return model_class._from_config(config, **arguments)


def _accept_published_names(tower: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Renames what `save_pretrained` renamed: ViT, DINOv2 and Swin are saved under the names of older transformers.

    `from_pretrained` knows them. `Trainer`, when it resumes or goes back to the best checkpoint, does not: it would go
    on with the weights at hand for want of the right ones.
    """
    own_names = list(tower.state_dict())
    saved = revert_weight_conversion(tower, {name: torch.tensor(i) for i, name in enumerate(own_names)})
    for saved_name, position in saved.items():
        own_name = own_names[int(position)]
        if saved_name != own_name and prefix + saved_name in state_dict:
            state_dict[prefix + own_name] = state_dict.pop(prefix + saved_name)


def load_vision_tower(name_or_path: str, layer: int | None = None, **kwargs: Any) -> PreTrainedModel:
    """The vision tower of a checkpoint: of a CLIP or SigLIP pair, a vision model alone, or one with a task head.

    Args:
        name_or_path: Hub id or folder.
        layer: as `TimesCLIPConfig.vision_feature_layer`; nothing behind it is loaded.
        **kwargs: passed to `from_pretrained` (`revision`, `token`, `cache_dir`, ...); weights come in fp32.

    Raises:
        ValueError: a family that is not supported, or weights of the tower that the checkpoint lacks.
    """
    config = load_tower_config(name_or_path, "vision", **kwargs)
    family = VISION_FAMILIES[config.model_type]
    if layer is None:
        return load_quietly(family.model_class, name_or_path, {**family.arguments, **family.settings, **kwargs})
    ending = up_to_layer(config, layer)
    for name, value in family.settings.items():
        setattr(ending, name, value)
    # Swin's norm is of the width behind its last stage.
    kwargs = {**family.arguments, "config": ending, "ignore_mismatched_sizes": True, **kwargs}
    tower = load_quietly(family.model_class, name_or_path, kwargs, unread=(f"{family.norm}.",))
    end_at_layer(tower, layer_number(config, layer), family.norm)
    return tower


def load_text_tower(name_or_path: str, **kwargs: Any) -> PreTrainedModel:
    """The text tower of a checkpoint, without its embeddings. Arguments and errors as for `load_vision_tower`."""
    family = TEXT_FAMILIES[load_tower_config(name_or_path, "text", **kwargs).model_type]
    return family.strip(load_quietly(family.model_class, name_or_path, {**family.arguments, **kwargs}))


def load_quietly(
    model_class: Any,
    name_or_path: str,
    kwargs: dict[str, Any],
    parts: tuple[str, ...] = (),
    unread: tuple[str, ...] = (),
) -> Any:
    """A model of a checkpoint in fp32, which must have all of its weights but the `unread`, or those of these `parts`
    (beginnings of names)."""
    # In fp32 like all our own weights, whatever the checkpoint was stored in: layers of two dtypes do not mix.
    # A pair's other half or a task head are unexpected here by design, so transformers' own report would only alarm.
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with naming_damage(name_or_path):
            model, report = model_class.from_pretrained(
                checkpoint_folder(name_or_path), output_loading_info=True, dtype=torch.float32, **kwargs
            )
    finally:
        logging.set_verbosity(verbosity)
    missing, mismatched = (
        sorted(
            str(name) for name in names if _name(name).startswith(parts or "") and not _name(name).startswith(unread)
        )
        for names in (report["missing_keys"], report["mismatched_keys"])
    )
    if missing or mismatched:
        raise ValueError(
            f"{name_or_path} lacks weights of its tower: missing {missing}, of another shape {mismatched}."
        )
    return model


def _name(key: Any) -> str:
    """Of a weight in a report of transformers, which lists those of another shape with both shapes."""
    return str(key if isinstance(key, str) else key[0])


@contextmanager
def naming_damage(name_or_path: Any) -> Iterator[None]:
    """Inside, weights that cannot be read raise an `OSError` that names their files."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # by name: what travels imports no library but transformers'
            raise
        place = checkpoint_folder(str(name_or_path))
        files = ", ".join(sorted(path.name for path in Path(place).glob("*.safetensors"))) or "weights"
        raise OSError(f"{place}: {files} damaged or cut, copy or download again: {error}") from error


def is_trained(tower: nn.Module) -> bool:
    """Whether training may change anything in a tower: weights of its own, or those of an adapter in it."""
    return any(parameter.requires_grad for parameter in tower.parameters())


def eval_if_frozen(tower: nn.Module) -> None:
    """Eval mode for a tower whose own weights are all frozen; adapters that learn in it stay in training mode."""
    learning = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    adapted: list[Any] = [module for module in tower.modules() if "base_layer" in module._modules]  # peft's mark
    added = {id(p) for layer in adapted for p in layer.parameters()}
    added -= {id(p) for layer in adapted for p in layer.base_layer.parameters()}
    if any(id(parameter) not in added for parameter in learning):
        return
    tower.eval()
    for layer in adapted if learning else ():
        layer.train()
        layer.base_layer.eval()


def pool_tokens(tokens: Tensor, counts: Tensor | None, pooling: str, has_cls: bool = True) -> Tensor:
    """One feature `(n, width)` for each sequence of tokens `(n, length, width)`.

    Args:
        tokens: the CLS token first, where there is one.
        counts: `(n, length)` bool, False for tokens that a mean leaves out; `None`: all count.
        pooling: `"cls"`, `"mean"` of the others, or `"cls_mean"`: these two side by side, `(n, 2 * width)`.
        has_cls: whether there is a CLS token.
    """
    if pooling == "cls":
        return tokens[:, 0]
    others = tokens[:, int(has_cls) :]
    if counts is None:
        mean = others.mean(dim=1)
    else:
        shares = counts[:, int(has_cls) :].to(tokens.dtype)
        mean = (others * shares[..., None]).sum(dim=1) / shares.sum(dim=1, keepdim=True).clamp(min=1)
    return mean if pooling == "mean" else torch.cat([tokens[:, 0], mean], dim=-1)


def leave_out_unread(tower: PreTrainedModel, pooling: str) -> None:
    """Takes out of training what no feature passes through: DDP refuses weights without gradients."""
    unread = VISION_FAMILIES[tower.config.model_type].unread
    if unread is not None and pooling != "pooler" and hasattr(tower, unread):  # a tower that ends earlier has none
        getattr(tower, unread).requires_grad_(False)


def encode_images(
    tower: PreTrainedModel,
    pixel_values: Tensor,
    chunk_size: int | None = None,
    pooling: str = "pooler",
    blanks: Blanks | None = None,
) -> Tensor:
    """Features `(n, width)` of images `(n, 3, height, width)`.

    Args:
        pooling: as `TimesCLIPConfig.vision_pooling`.
        chunk_size: images that the tower sees at once; bounds its memory, also with gradients, whatever n is. `None`:
            all. A tower whose batch norms are being trained sees all, for they average over the batch.
        blanks: what becomes of patches without ink, see `ink`; `None`: they are read like all others.
    """
    if blanks is not None:
        return encode_ink(tower, pixel_values, blanks, pooling, chunk_size, encode_in_chunks)
    family = VISION_FAMILIES[tower.config.model_type]
    if family.mixes_images and tower.training:
        chunk_size = None

    def encode(images: Tensor) -> Tensor:
        outputs = tower(pixel_values=images.to(tower.dtype))  # not every family casts its own input
        if pooling == "pooler":
            return family.pool(outputs)
        return pool_tokens(family.tokens(tower, outputs), None, pooling, tower.config.model_type not in WITHOUT_CLS)

    return encode_in_chunks(encode, chunk_size, pixel_values)


def encode_images_in_chunks(
    tower: PreTrainedModel,
    pixel_values: Tensor,
    chunk_size: int,
    pooling: str = "pooler",
    blanks: Blanks | None = None,
) -> Tensor:
    """As `encode_images`, for a frozen tower: without gradients, at most `chunk_size` images at once."""
    with torch.no_grad():
        return encode_images(tower, pixel_values, chunk_size, pooling, blanks)


def encode_tokens(
    tower: PreTrainedModel, hidden: Tensor, mask: Tensor | None, chunk_size: int | None = None
) -> Tensor:
    """Contextual tokens `(n, length, width)` after the tower's layers and final norm, attending in both directions.

    Args:
        hidden: `(n, length, width)` token vectors with their positions added.
        mask: `(n, length)` bool, False for tokens nobody may look at; `None`: all count.
        chunk_size: sequences that the tower sees at once; bounds its memory as for images. `None`: all.
    """
    encode = partial(TEXT_FAMILIES[tower.config.model_type].encode, tower)
    return encode_in_chunks(encode, chunk_size, hidden, mask)


def encode_in_chunks(encode: Callable[..., Tensor], chunk_size: int | None, *inputs: Any) -> Tensor:
    """`encode(*inputs)`, for few of them at once; only they are kept for the way back, where it is computed again.

    What the layers of a tower remember for their gradients would otherwise grow with the number of chunks (activation
    checkpointing, Chen et al. 2016, arXiv 1604.06174). Random numbers are the same both times.
    """
    if chunk_size is None or _is_exporting() or len(inputs[0]) <= chunk_size:  # a graph is for any number of them
        return encode(*inputs)
    chunks = zip(*(repeat(None) if whole is None else whole.split(chunk_size) for whole in inputs), strict=False)
    run = (
        partial(checkpoint, use_reentrant=False) if torch.is_grad_enabled() else lambda encode, *chunk: encode(*chunk)
    )
    return torch.cat([run(encode, *chunk) for chunk in chunks])


def record_tokens(
    tower: PreTrainedModel,
    hidden: Tensor,
    mask: Tensor | None,
    output_hidden_states: bool | list[int],
    output_attentions: bool,
) -> BaseModelOutput:
    """As `encode_tokens`, with what happens in between: the tokens before, between and after the layers
    `(n, length, width)`, the last of them normed, and the attention of every layer `(n, heads, length, length)`.

    Fused kernels give no attention: where it is asked for, the tower computes this one call without them.
    """
    record, config = TEXT_FAMILIES[tower.config.model_type].record, tower.config
    wanted = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
    kernel = config._attn_implementation
    if not output_attentions or kernel == "eager":
        return record(tower, hidden, mask, **wanted)
    config._attn_implementation = "eager"
    try:
        return record(tower, hidden, mask, **wanted)
    finally:
        config._attn_implementation = kernel


__all__ = [
    "TEXT_FAMILIES",
    "VISION_FAMILIES",
    "build_text_tower",
    "build_vision_tower",
    "encode_images",
    "encode_images_in_chunks",
    "encode_in_chunks",
    "encode_tokens",
    "is_trained",
    "leave_out_unread",
    "load_quietly",
    "load_text_tower",
    "load_vision_tower",
    "naming_damage",
    "pool_tokens",
    "record_tokens",
    "eval_if_frozen",
    "text_feature_width",
    "text_width",
]
