# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Every private name of another library that this package overrides, calls or sets.

Libraries rename such names without a word, and an override that nobody calls any more says nothing either. So they are
all listed here, and looked for at import.
"""

import importlib
import importlib.metadata
import inspect
from typing import Any

# Owner -> name -> its first parameters; `None`: it is not a function, or none of them matter.
HOOKS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "transformers.trainer.Trainer": {
        "_created_lr_scheduler": None,
        "_evaluate": ("trial", "ignore_keys_for_eval", "skip_scheduler"),
        "_finalize_training": ("trial",),
        "_finish_current_push": (),
        "_get_collator_with_removed_columns": ("data_collator", "description"),
        "_get_output_dir": ("trial",),
        "_init_training_state": ("max_steps", "num_update_steps_per_epoch", "num_train_epochs"),
        "_load_best_model": (),
        "_load_from_checkpoint": ("resume_from_checkpoint", "model"),
        "_prepare_inputs": ("inputs",),
        "_push_from_checkpoint": ("checkpoint_folder",),
        "_save": ("output_dir", "state_dict"),
        "_save_checkpoint": ("model", "trial"),
        "_train_batch_size": None,
    },
    "transformers.modeling_utils.PreTrainedModel": {
        "_from_config": ("config",),
        "_hf_peft_config_loaded": None,
        "_init_weights": ("module",),
        "_keep_in_fp32_modules_strict": None,
        "_supports_sdpa": None,
    },
}


def check_hooks(hooks: dict[str, dict[str, tuple[str, ...] | None]] = HOOKS) -> None:
    """Looks for each name in the installed version of its library.

    Raises:
        ImportError: one is not there, or takes other parameters.
    """
    for owner, names in hooks.items():
        module, _, class_name = owner.rpartition(".")
        found = getattr(importlib.import_module(module), class_name, None)
        for name, parameters in names.items():
            if not _exists(found, name, parameters):
                library = owner.partition(".")[0]
                shown = name if parameters is None else f"{name}({', '.join(parameters)})"
                raise ImportError(
                    f"{library} {importlib.metadata.version(library)} has no {class_name}.{shown}, which timesclip_hf "
                    f"needs: install a version of {library} that setup.cfg allows, or a newer timesclip_hf"
                )


def _exists(owner: Any, name: str, parameters: tuple[str, ...] | None) -> bool:
    if not hasattr(owner, name):  # many attributes are there only once `__init__` has set them
        return parameters is None and name in inspect.unwrap(owner.__init__).__code__.co_names if owner else False
    if parameters is None:
        return True
    taken = [parameter for parameter in inspect.signature(getattr(owner, name)).parameters if parameter != "self"]
    return tuple(taken[: len(parameters)]) == parameters


__all__ = ["HOOKS", "check_hooks"]
