# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Every private name of another library that this package overrides, calls or sets.

Libraries rename such names without a word, and an override that nobody calls any more says nothing either. So they are
all listed here, and looked for wherever a module that uses them is imported.
"""

import importlib.metadata
import inspect
import sys
from typing import Any

# Owner -> name -> its first parameters; `None`: it is not a function, or none of them matter.
HOOKS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "transformers.trainer.Trainer": {
        "_created_lr_scheduler": None,
        "_evaluate": ("trial", "ignore_keys_for_eval", "skip_scheduler"),
        "_finalize_training": ("trial",),
        "_finish_current_push": None,
        "_get_collator_with_removed_columns": ("data_collator", "description"),
        "_get_output_dir": ("trial",),
        "_init_training_state": None,
        "_load_best_model": None,
        "_load_from_checkpoint": ("resume_from_checkpoint", "model"),
        "_prepare_inputs": ("inputs",),
        "_push_from_checkpoint": ("checkpoint_folder",),
        "_save": ("output_dir", "state_dict"),
        "_save_checkpoint": ("model", "trial"),
        "_train_batch_size": None,
        "save_model": ("output_dir", "_internal_call"),
    },
    "transformers.modeling_utils.PreTrainedModel": {
        "_from_config": None,
        "_hf_peft_config_loaded": None,
        "_init_weights": ("module",),
        "_keep_in_fp32_modules_strict": None,
        "_supports_sdpa": None,
    },
    "transformers.configuration_utils.PreTrainedConfig": {"_attn_implementation": None, "_auto_class": None},
    "transformers.utils.hub.PushToHubMixin": {"_upload_modified_files": ("working_dir",)},
    "transformers.pipelines.base.Pipeline": {
        "_batch_size": None,
        "_forward": ("input_tensors",),
        "_load_feature_extractor": None,
        "_load_image_processor": None,
        "_load_processor": None,
        "_load_tokenizer": None,
        "_load_video_processor": None,
        "_postprocess_params": None,
        "_preprocess_params": None,
        "_sanitize_parameters": None,
    },
    # Not private, but set: a name that nobody reads any more would be silence, too.
    "accelerate.data_loader.BatchSamplerShard": dict.fromkeys(
        ("batch_sampler", "batch_size", "even_batches", "num_processes", "process_index", "split_batches")
    ),
}
# Old versions that are allowed have no such thing, nor what it switches off.
_NEWER = ("_load_video_processor",)


def check_hooks(hooks: dict[str, dict[str, tuple[str, ...] | None]] = HOOKS) -> None:
    """Looks for each name in the installed version of its library, as far as that is loaded.

    Raises:
        ImportError: one is not there, or takes other parameters.
    """
    for owner, names in hooks.items():
        module, _, class_name = owner.rpartition(".")
        if module not in sys.modules:
            continue
        found = getattr(sys.modules[module], class_name, None)
        for name, parameters in names.items():
            if name not in _NEWER and not _exists(found, name, parameters):
                library = owner.partition(".")[0]
                shown = name if parameters is None else f"{name}({', '.join(parameters)})"
                raise ImportError(
                    f"{library} {importlib.metadata.version(library)} has no {class_name}.{shown}, which timesclip_hf "
                    f"needs: install a version of {library} that setup.cfg allows, or a newer timesclip_hf"
                )


def _exists(owner: Any, name: str, parameters: tuple[str, ...] | None) -> bool:
    if parameters is not None:
        taken = list(inspect.signature(getattr(owner, name)).parameters) if hasattr(owner, name) else []
        return tuple(taken[1 : 1 + len(parameters)]) == parameters  # behind self
    code = getattr(inspect.unwrap(owner.__init__), "__code__", None) if owner else None
    return hasattr(owner, name) or name in getattr(code, "co_names", ())  # many are set by __init__


__all__ = ["HOOKS", "check_hooks"]
