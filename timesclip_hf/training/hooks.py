# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Every private name of another library that this package overrides, calls or sets.

Libraries rename such names without a word, and an override that nobody calls any more says nothing either. So they are
all listed here, and looked for wherever a module that uses them is imported.
"""

import importlib.metadata
import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import Any

# Owner -> names, with their first parameters where these matter.
HOOKS: dict[str, tuple[str, ...]] = {
    "transformers.trainer.Trainer": (
        "_created_lr_scheduler", "_evaluate(trial, ignore_keys_for_eval, skip_scheduler)", "_finalize_training(trial)",
        "_finish_current_push", "_get_collator_with_removed_columns(data_collator, description)",
        "_get_output_dir(trial)", "_init_training_state", "_load_best_model",
        "_load_from_checkpoint(resume_from_checkpoint, model)", "_move_model_to_device(model, device)",
        "_prepare_inputs(inputs)", "_push_from_checkpoint(checkpoint_folder)", "_save(output_dir, state_dict)",
        "_save_checkpoint(model, trial)", "_train_batch_size", "save_model(output_dir, _internal_call)",
    ),
    "transformers.modeling_utils.PreTrainedModel": (
        "_from_config", "_hf_peft_config_loaded", "_init_weights(module)", "_keep_in_fp32_modules_strict",
        "_supports_sdpa",
    ),
    "transformers.configuration_utils.PreTrainedConfig": ("_attn_implementation", "_auto_class"),
    "transformers.utils.hub.PushToHubMixin": ("_upload_modified_files(working_dir)",),
    "transformers.pipelines.base.Pipeline": (
        "_batch_size", "_forward(input_tensors)", "_load_feature_extractor", "_load_image_processor",
        "_load_processor", "_load_tokenizer", "_load_video_processor", "_postprocess_params", "_preprocess_params",
        "_sanitize_parameters",
    ),
    "torch.nn.modules.module.Module": ("_compiled_call_impl",),
    # Not private, but set: a name that nobody reads any more would be silence, too.
    "accelerate.data_loader.BatchSamplerShard": (
        "batch_sampler", "batch_size", "even_batches", "num_processes", "process_index", "split_batches",
    ),
}  # fmt: skip
# Old versions that are allowed have no such thing, nor what it switches off.
_NEWER = ("_load_video_processor",)


def check_hooks(hooks: Mapping[str, Iterable[str]] = HOOKS) -> None:
    """Looks for each name in the installed version of its library, as far as that is loaded.

    Raises:
        ImportError: one is not there, or takes other parameters.
    """
    for owner, names in hooks.items():
        module, _, class_name = owner.rpartition(".")
        library = owner.partition(".")[0]
        found = getattr(sys.modules.get(module), class_name, None)
        for name in names if module in sys.modules else ():
            if name not in _NEWER and not _exists(found, *name.rstrip(")").split("(")):
                raise ImportError(
                    f"{library} {importlib.metadata.version(library)} has no {class_name}.{name}, which timesclip_hf "
                    f"needs: install a version of {library} that setup.cfg allows, or a newer timesclip_hf"
                )


def _exists(owner: Any, name: str, parameters: str = "") -> bool:
    if parameters:
        taken = list(inspect.signature(getattr(owner, name)).parameters) if hasattr(owner, name) else []
        return ", ".join([*taken[1:], ""]).startswith(f"{parameters}, ")  # behind self
    code = getattr(inspect.unwrap(owner.__init__), "__code__", None) if owner else None
    return hasattr(owner, name) or name in getattr(code, "co_names", ())  # many are set by __init__


__all__ = ["HOOKS", "check_hooks"]
