# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Low-rank adapters (LoRA, arXiv 2106.09685) for the towers, through peft: what to adapt, and what to train beside.

The targets are our own: peft's "all-linear" would also adapt the parts around the towers, which must learn whole, and
of our towers' families its mappings know BERT and T5 alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch.nn import ModuleDict
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME, logging

if TYPE_CHECKING:
    from peft import LoraConfig

logger = logging.get_logger(__name__)

TOWER_NAMES = ("vision", "text")
# The linear maps of attention, under the names that they have in one family or another. SigLIP's pooling head lies
# outside of these layers, and must: its attention reads the weights of its output map without calling it.
_ATTENTION = r"(?:encoder|layers|block)\..*\.(?:[qkvo]_proj|out_proj|query|key|value|attention\.output\.dense|[qkvo])"
_CONVOLUTIONS = r"encoder\..*\.convolution"


def lora_config(model: Any, towers: Sequence[str] | None = None, r: int = 8, **kwargs: Any) -> "LoraConfig":
    """A LoRA for a model's towers, and full training for everything around them, which starts from random weights.

    Adapted are the query, key, value and output maps of every attention layer (Hu et al. 2021 found these to do), in a
    ResNet the convolutions of its stages. All other weights of the towers stay as they are, whatever `freeze_vision`
    and `freeze_text` say.

    Args:
        model: a TimesCLIP model. What of it is not in a tower goes into the adapter whole (`modules_to_save`).
        towers: `"vision"`, `"text"` or both; a tower that is left out does not learn at all. Default: all there are.
        r: rank of the updates. Default 8.
        **kwargs: passed to `peft.LoraConfig`, over the defaults here; `lora_alpha` is 2 r, `lora_dropout` 0.

    Returns:
        A `peft.LoraConfig` for `peft.get_peft_model(model, ...)` or `model.add_adapter(...)`.

    Raises:
        ImportError: peft is not installed.
        ValueError: a tower that the model does not have, or none to adapt.

    Example:

    ```python
    >>> from peft import AutoPeftModel, get_peft_model
    >>> from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, lora_config
    >>> config = TimesCLIPConfig.from_preset("full", towers="tiny", num_variates=7, context_length=36)
    >>> TimesCLIPForRegression(config).save_pretrained("base")
    >>> model = TimesCLIPForRegression.from_pretrained("base")  # an adapter remembers its base by name
    >>> model = get_peft_model(model, lora_config(model, r=4))  # now train it
    >>> model.save_pretrained("adapter")  # the adapter alone
    >>> model = TimesCLIPForRegression.from_pretrained("adapter")  # on its base
    >>> model = AutoPeftModel.from_pretrained("adapter", import_allowlist=["timesclip_hf"])  # or so
    >>> model.merge_and_unload().save_pretrained("merged")  # a plain model again
    ```
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ImportError("Adapters need peft: pip install 'timesclip-hf[peft]'.") from error
    families = {}
    for name in TOWER_NAMES:
        tower = getattr(model.base_model, f"{name}_tower", None)
        if tower is not None:
            families[name] = tower.config.model_type
    towers = tuple(families) if towers is None else tuple(towers)
    if not towers or not set(towers) <= families.keys():
        raise ValueError(f"towers is {towers}; this model has {tuple(families)} to choose from.")
    if not model.name_or_path:
        logger.warning(
            "This model was not loaded from a checkpoint, so its adapter cannot name the base that it belongs to. To "
            "load it by its own name later, save the model first, and adapt what from_pretrained makes of that folder."
        )
    patterns = [rf"{name}_tower\.(?:{_CONVOLUTIONS if families[name] == 'resnet' else _ATTENTION})" for name in towers]
    defaults = {
        "r": r,
        "lora_alpha": 2 * r,
        "target_modules": rf"(?:.*\.)?(?:{'|'.join(patterns)})",
        "modules_to_save": _own_modules(model),
    }
    return LoraConfig(**{**defaults, **kwargs})


def _own_modules(model: Any) -> list[str]:
    """Full names of the modules outside of the towers that have something to learn or to remember.

    peft takes a module whose name ends so. A head is therefore named by its parts: SigLIP's tower has a `head`, too.
    """
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    towers = {f"{name}_tower" for name in TOWER_NAMES}
    names = [f"{prefix}{name}" for name, _ in model.base_model.named_children() if name not in towers]
    if prefix:
        names += [f"head.{name}" for name, _ in model.head.named_children()] if hasattr(model, "head") else []
        names += ["alignment"] if getattr(model, "alignment", None) is not None else []
    for name in list(names):  # peft wraps no containers
        if isinstance(container := model.get_submodule(name), ModuleDict):
            names.remove(name)
            names += [f"{name}.{part}" for part in container]
    return [name for name in names if model.get_submodule(name).state_dict()]


def load_own_adapter(model: Any, folder: str | Path | None) -> bool:
    """Gives the adapter that a model itself holds (`model.add_adapter`) the weights in a folder that it was saved to.

    Returns:
        Whether it holds one, and there is a folder.

    Raises:
        ValueError: the folder holds none.
    """
    if folder is None or not getattr(model, "_hf_peft_config_loaded", False):
        return False
    from peft import set_peft_model_state_dict

    path = Path(folder) / ADAPTER_SAFE_WEIGHTS_NAME
    if not path.is_file():
        raise ValueError(f"{folder} has no {ADAPTER_SAFE_WEIGHTS_NAME}: no adapter was saved there.")
    weights = {name.removeprefix("base_model.model."): weight for name, weight in load_file(path).items()}
    set_peft_model_state_dict(model, weights, adapter_name=model.active_adapters()[0])
    return True


__all__ = ["load_own_adapter", "lora_config"]
