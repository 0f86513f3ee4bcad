# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a trainer pushes to the Hub: the files that load the model, their code and its card, and nothing else."""

import os
import shutil
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, create_branch, create_commit, run_as_future
from transformers import Trainer
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import PushInProgress, logging

from ..model.remote_code import add_code

logger = logging.get_logger(__name__)

# In a checkpoint other weights and JSON lie beside the model: the optimizer's and what else resuming needs.
_MODEL_FILES = (
    "config.json", "processor_config.json", "model*.safetensors", "model.safetensors.index.json",
    "adapter_config.json", "adapter_model.safetensors", "README.md",
)  # fmt: skip
_RUN_FILES = (*_MODEL_FILES, "*.json", "*.md")


class PushingTrainer(Trainer):
    """
    As `transformers.Trainer`, but a push is one commit of what the model needs: safetensors, JSON and Markdown from
    the top of the run's folder, and the package's code beside them (`trust_remote_code=True` loads it without the
    package). Logs, figures, checkpoints and whatever else lies in the folder stay where they are.
    """

    push_in_progress: Any

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Saves model, processor and card, and uploads them.

        Args:
            commit_message: of the one commit.
            blocking: wait until it is done.
            token: with the right to write; not set: `args.hub_token`, or the one of `hf auth login`.
            revision: branch, created where it is missing; not set: `args.hub_revision`, or `main`.
            private: whether a repository that is new becomes private; not set: `args.hub_private_repo`.
            **kwargs: passed to `create_model_card`.

        Returns:
            `CommitInfo`, or a `Future` of it with `blocking=False`; `None` on all processes but the first.

        Raises:
            huggingface_hub.errors.HfHubHTTPError: the Hub refused (no token, no such organisation, ...); nothing of
                the commit is then there.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token if token is not None else self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, **({} if private is None else {"private": private}))
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        self._finish_current_push()
        return self._upload(
            str(self.args.output_dir),
            _RUN_FILES,
            commit_message=commit_message or "End of training",
            token=token,
            revision=revision or self.args.hub_revision,
            blocking=blocking,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Called after each checkpoint with `push_to_hub=True`; nothing with `hub_strategy="end"`."""
        args = self.args
        if not self.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not args.hub_always_push:
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        by_steps = args.save_strategy == SaveStrategy.STEPS
        when = f"step {self.state.global_step}" if by_steps else f"epoch {int(self.state.epoch or 0)}"
        job = self._upload(
            checkpoint_folder,
            _MODEL_FILES,
            commit_message=f"Training in progress, {when}",
            token=args.hub_token,
            revision=args.hub_revision,
            blocking=False,
        )
        if busy:
            self.push_in_progress.jobs.append(job)
        else:
            self.push_in_progress = PushInProgress([job])  # type: ignore[arg-type]

    def _upload(
        self,
        folder: str | os.PathLike,
        patterns: tuple[str, ...],
        *,
        commit_message: str,
        token: str | None,
        revision: str | None,
        blocking: bool,
    ) -> Any:
        """One commit of the files at the top of `folder`, with the code that loads them.

        They are copied first: a checkpoint may be removed, or written anew, before an upload in the background ends.
        """
        staging = tempfile.TemporaryDirectory(prefix="timesclip-push-")
        files = {file for pattern in patterns for file in Path(folder).glob(pattern) if not file.name.startswith("_")}
        for file in files:
            shutil.copy2(file, staging.name)
        add_code(staging.name)
        repo_id = str(self.hub_model_id)

        def upload() -> Any:
            with staging:
                if revision is not None:
                    create_branch(repo_id, branch=revision, token=token, exist_ok=True)
                operations = [
                    CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file)
                    for file in sorted(Path(staging.name).iterdir())
                ]
                return create_commit(
                    repo_id, operations, commit_message=commit_message, token=token, revision=revision
                )

        if blocking:
            return upload()
        future = run_as_future(upload)
        future.add_done_callback(_report_failure)
        return future


def _report_failure(push: Future[Any]) -> None:
    """Training goes on without a push in the background that failed, but not without a word."""
    if not push.cancelled() and push.exception() is not None:
        logger.warning("A push to the Hub failed; training goes on. %s", push.exception())


__all__ = ["PushingTrainer"]
