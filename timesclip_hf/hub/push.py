# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a trainer pushes to the Hub: the files that load the model, their code and its card, and nothing else."""

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, create_branch, create_commit, create_repo, run_as_future
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import PushInProgress, logging

from ..model.remote_code import add_code, pushed_files

logger = logging.get_logger(__name__)


def push_to_hub(
    trainer: Any,
    commit_message: str | None = "End of training",
    blocking: bool = True,
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Saves model, processor and card, and uploads them in one commit, with the code that loads them.

    Of the run's folder, those files are pushed by which a model, an adapter or a processor is saved, and README.md; a
    link of such a name is left out, with a warning. Whatever else lies there stays where it is: logs, figures,
    checkpoints, results, files of yours.

    Args:
        trainer: the trainer.
        commit_message: of the commit.
        blocking: wait until it is done.
        token: with the right to write; not set: `args.hub_token`, or the one of `hf auth login`.
        revision: branch, created where it is missing; not set: `args.hub_revision`, or `main`.
        private: whether a repository that is new becomes private; not set: `args.hub_private_repo`.
        **kwargs: passed to `create_model_card`.

    Returns:
        `CommitInfo`, or a `Future` of it with `blocking=False`; `None` on all processes but the first.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the Hub refused (no token, no such organisation, ...); nothing of the
            commit is then there.
    """
    args = trainer.args
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    token = token if token is not None else args.hub_token
    if trainer.hub_model_id is None:
        trainer.init_hf_repo(token=token, **({} if private is None else {"private": private}))
    trainer.save_model(_internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    trainer.create_model_card(**kwargs)
    trainer._finish_current_push()
    upload = _prepared_upload(
        trainer.hub_model_id,
        args.output_dir,
        commit_message or "End of training",
        token,
        revision or args.hub_revision,
    )
    return upload() if blocking else _in_background(upload)


def push_folder(
    repo_id: str,
    folder: str | os.PathLike,
    commit_message: str,
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
) -> Any:
    """Uploads a saved model in one commit, with the code that loads it; the repository is made where there is none.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the Hub refused; nothing of the commit is then there.
    """
    create_repo(repo_id, token=token, private=private, exist_ok=True)
    return _prepared_upload(repo_id, folder, commit_message, token, revision)()


def push_checkpoint(trainer: Any, folder: str) -> None:
    """Uploads a checkpoint's model in the background; nothing with `hub_strategy="end"`."""
    args = trainer.args
    if not trainer.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
        return
    busy = trainer.push_in_progress is not None and not trainer.push_in_progress.is_done()
    if busy and not args.hub_always_push:
        return
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    by_steps = args.save_strategy == SaveStrategy.STEPS
    when = f"step {trainer.state.global_step}" if by_steps else f"epoch {int(trainer.state.epoch or 0)}"
    message = f"Training in progress, {when}"
    job = _in_background(_prepared_upload(trainer.hub_model_id, folder, message, args.hub_token, args.hub_revision))
    if busy:
        trainer.push_in_progress.jobs.append(job)
    else:
        trainer.push_in_progress = PushInProgress([job])  # type: ignore[arg-type]


def _prepared_upload(
    repo_id: str,
    folder: str | os.PathLike,
    commit_message: str,
    token: str | None,
    revision: str | None,
) -> Callable[[], Any]:
    """Makes one commit of the model that is saved in `folder`, with the code that loads it, once it is called.

    The files are copied first: a checkpoint may be removed, or written anew, before an upload in the background ends.
    """
    staging = tempfile.TemporaryDirectory(prefix="timesclip-push-")
    for file in pushed_files(folder):
        shutil.copy2(file, staging.name, follow_symlinks=False)
    if Path(folder, "README.md").is_symlink():
        logger.warning("%s is a link: it is not pushed, and the repository has no card of this run.", "README.md")
    add_code(staging.name)

    def upload() -> Any:
        with staging:
            if revision is not None:
                create_branch(repo_id, branch=revision, token=token, exist_ok=True)
            copied = sorted(Path(staging.name).iterdir())
            operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in copied]
            return create_commit(repo_id, operations, commit_message=commit_message, token=token, revision=revision)

    return upload


def _in_background(upload: Callable[[], Any]) -> Future[Any]:
    """Training goes on without a push that failed, but not without a word."""

    def report(push: Future[Any]) -> None:
        if not push.cancelled() and push.exception() is not None:
            logger.warning("A push to the Hub failed; training goes on. %s", push.exception())

    future = run_as_future(upload)
    future.add_done_callback(report)
    return future


__all__ = ["push_checkpoint", "push_to_hub"]
