# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The feature cache: what it gives is what the tower says, and nothing is encoded twice or found when stale."""

import os
import pickle
import signal
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset

from timesclip_hf import (
    ForecastWindows,
    TimesCLIPConfig,
    TimesCLIPDataCollator,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    lora_config,
)
from timesclip_hf.features import cache as feature_cache
from timesclip_hf.features import plots as plots_to_features
from timesclip_hf.features.cache import FeatureCache
from timesclip_hf.features.store import FeatureStore, plot_keys

NUM_SERIES = 14


def rows(count=NUM_SERIES, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, 12, 3)).cumsum(axis=1).astype(np.float32)
    values[1, 4:6, 0] = np.nan
    return Dataset.from_dict({"past_values": values, "labels": values[:, -1, :1]})


@pytest.fixture
def build(tiny_config):
    """`build(**config_fields)`: model with a frozen vision tower, and the processor fitted on `rows()`."""

    def make(data=None, processor_fields=None, **config_fields: Any):
        torch.manual_seed(0)
        config = tiny_config(**{"freeze_vision": True, "vision_chunk_size": 7, **config_fields})
        processor = TimesCLIPProcessor.from_config(config, **(processor_fields or {})).fit(data or rows())
        return TimesCLIPForRegression(processor.complete_config(config)).eval(), processor

    return make


def expected_features(model, processor, dataset):
    images = processor(np.array(dataset["past_values"]))["pixel_values"]
    with torch.no_grad():
        return model.base_model.vision_tower(images.flatten(0, 1)).pooler_output.unflatten(0, images.shape[:2])


def plots(processor, dataset):
    return TimesCLIPDataCollator(processor, draw=False)([dataset[i] for i in range(len(dataset))])["plot_values"]


@pytest.fixture
def count_images(monkeypatch):
    """A list to which every use of a frozen tower before its model adds its number of images."""
    sizes: list[int] = []
    real = plots_to_features.encode_images_in_chunks

    def counting(tower, images, *args):
        sizes.append(len(images))
        return real(tower, images, *args)

    monkeypatch.setattr(plots_to_features, "encode_images_in_chunks", counting)
    return sizes


def test_another_pooling_is_another_cache(build, tmp_path):
    stores = {}
    for pooling in ("pooler", "mean", "cls_mean"):
        model, processor = build(vision_pooling=pooling)
        cache = FeatureCache(model, processor, tmp_path, dtype="float32")
        assert cache.add(rows(3), progress=False) == 3
        batch = processor(rows(3)["past_values"], return_tensors="pt")
        with torch.no_grad():
            expected = model.timesclip.get_vision_features(batch["pixel_values"])
        torch.testing.assert_close(cache.store(plots(processor, rows(3))), expected, atol=1e-5, rtol=1e-5)
        stores[pooling] = cache.store.folder
    assert len(set(stores.values())) == 3


def test_stored_features_are_what_the_tower_says_of_the_drawn_images(build, tmp_path):
    model, processor = build()
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    assert cache.add(rows(), progress=False) == NUM_SERIES == len(cache.store)
    features = cache.store(plots(processor, rows()))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected_features(model, processor, rows()), atol=1e-5, rtol=1e-5)


def test_each_distinct_series_is_encoded_once_in_batches_of_at_most_the_chunk_size(build, tmp_path, count_images):
    model, processor = build()
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    twice = rows().select([0, 1, 2, 1, 0, 3])
    assert cache.add(twice, progress=False) == 4
    assert sum(count_images) == 4 * 3 and max(count_images) <= 7
    assert cache.add(twice, progress=False) == 0 and sum(count_images) == 4 * 3
    assert cache.add(rows(), progress=False) == NUM_SERIES - 4


def test_a_later_run_finds_what_an_earlier_one_stored(build, tmp_path, count_images):
    FeatureCache(*build(), tmp_path, dtype="float32").add(rows(), progress=False)
    del count_images[:]
    again = FeatureCache(*build(), tmp_path, dtype="float32")
    assert len(again.store) == NUM_SERIES and again.add(rows(), progress=False) == 0 and not count_images


@pytest.mark.parametrize(
    "changed",
    [
        {"processor_fields": {"line_width": 2.0}},
        {"processor_fields": {"background": 0.9}},
        {"processor_fields": {"view": "gasf"}},
        {"processor_fields": {"value_range": "window"}},
        {"data": rows(seed=1)},  # other training data: another axis for the same series
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]},
    ],
    ids=["line width", "background", "view", "axis", "statistics", "colours"],
)
def test_nothing_is_found_after_the_processor_changed(build, tmp_path, changed):
    FeatureCache(*build(), tmp_path, dtype="float32").add(rows(), progress=False)
    model, processor = build(**changed)
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    assert cache.store(plots(processor, rows())) is None
    assert cache.add(rows(), progress=False) == NUM_SERIES
    torch.testing.assert_close(
        cache.store(plots(processor, rows())), expected_features(model, processor, rows()), atol=1e-5, rtol=1e-5
    )


def test_nothing_is_found_after_one_weight_changed_by_its_last_bit(build, tmp_path):
    FeatureCache(*build(), tmp_path, dtype="float32").add(rows(), progress=False)
    model, processor = build()
    weight = model.base_model.vision_tower.post_layernorm.bias
    with torch.no_grad():
        weight[3] = torch.nextafter(weight[3], torch.tensor(1.0))
    assert len(FeatureCache(model, processor, tmp_path, dtype="float32").store) == 0


def test_only_changed_series_are_encoded_again(build, tmp_path):
    model, processor = build()
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    cache.add(rows(), progress=False)
    values = np.array(rows()["past_values"], dtype=np.float32)
    values[5, 3, 1] += 0.1
    values[6, 2, 2] = np.nan
    assert cache.add(Dataset.from_dict({"past_values": values}), progress=False) == 2


def test_filling_the_cache_reads_neither_labels_nor_static_values(build, tmp_path):
    model, processor = build()  # fitted without static values, which it would refuse
    beside = {"labels": [None] * NUM_SERIES, "static_values": [{"soil": "peat"}] * NUM_SERIES}
    data = Dataset.from_dict({"past_values": rows()["past_values"], **beside})
    assert FeatureCache(model, processor, tmp_path, dtype="float32").add(data, progress=False) == NUM_SERIES


def test_overlapping_forecast_windows_are_cached(tiny_config, tmp_path):
    series = np.random.default_rng(0).normal(size=(60, 3)).cumsum(axis=0).astype(np.float32)
    windows = ForecastWindows([series], 12, 4)
    config = tiny_config("paper", prediction_length=4, freeze_vision=True)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance")
    model = TimesCLIPForPrediction(config)
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    assert cache.add(windows, progress=False) == len(windows) == 45
    rows_of_windows = [windows[i] for i in (0, 1, 44)]
    batch = TimesCLIPDataCollator(processor, draw=False, features=cache.store)(rows_of_windows)
    assert "plot_values" not in batch and "pixel_values" not in batch
    drawn = TimesCLIPDataCollator(processor)(rows_of_windows)["pixel_values"]
    torch.testing.assert_close(
        batch["vision_features"], model.base_model.get_vision_features(drawn), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(tmp_path, value):
    store = FeatureStore(tmp_path)
    with pytest.raises(ValueError, match="not finite"):
        store.write([b"x" * 16], np.full((1, 3, 4), value, np.float32))
    assert not list(tmp_path.iterdir())


def test_features_in_bfloat16_point_the_same_way(build, tmp_path):
    model, processor = build()
    cache = FeatureCache(model, processor, tmp_path, dtype="bfloat16")
    cache.add(rows(), progress=False)
    found, expected = cache.store(plots(processor, rows())), expected_features(model, processor, rows())
    assert torch.cosine_similarity(found.double(), expected.double(), dim=-1).min() > 0.999
    assert not torch.equal(found, expected)
    assert model.base_model.vision_tower.dtype == torch.float32
    assert len(FeatureCache(model, processor, tmp_path, dtype="float32").store) == 0  # never mixed up


def test_precision_is_full_unless_asked_and_never_measured(build, tmp_path):
    assert FeatureCache(*build(), tmp_path).dtype == torch.float32
    with pytest.raises(ValueError, match="dtype is 'auto': choose 'float32' or"):
        FeatureCache(*build(), tmp_path, dtype="auto")
    assert TimesCLIPTrainingArguments(str(tmp_path)).feature_cache_dtype == "float32"
    with pytest.raises(ValueError, match="feature_cache_dtype='auto' .*: set 'float32' or"):
        TimesCLIPTrainingArguments(str(tmp_path), feature_cache_dtype="auto")


def in_child(work) -> int:
    """Runs `work` in a forked process; its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def test_a_killed_run_is_continued_where_it_was(build, tmp_path, monkeypatch):
    model, processor = build()
    monkeypatch.setattr(feature_cache, "_SECONDS_PER_FILE", 0.0)  # a file for each batch of two series

    def encode_and_die():
        write, written = FeatureStore.write, []

        def dying(store, keys, features):
            if len(written) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            written.append(keys)
            write(store, keys, features)

        FeatureStore.write = dying
        FeatureCache(model, processor, tmp_path, dtype="float32").add(rows(), progress=False)

    _, status = os.waitpid(in_child(encode_and_die), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    stored = len(cache.store)
    assert 3 <= stored < NUM_SERIES
    assert cache.add(rows(), progress=False) == NUM_SERIES - stored
    torch.testing.assert_close(
        cache.store(plots(processor, rows())), expected_features(model, processor, rows()), atol=1e-5, rtol=1e-5
    )


def test_processes_share_the_work_and_encode_nothing_twice(build, tmp_path, monkeypatch):
    model, processor = build()
    real = plots_to_features.encode_images_in_chunks

    def slowly(tower, images, *args):
        time.sleep(0.01)  # long enough for the processes to meet
        return real(tower, images, *args)

    monkeypatch.setattr(plots_to_features, "encode_images_in_chunks", slowly)

    def work(name, dataset):
        def encode():
            cache = FeatureCache(model, processor, tmp_path / "cache", dtype="float32")
            count = cache.add(dataset, progress=False)
            complete = cache.store(plots(processor, dataset)) is not None
            (tmp_path / name).write_text(f"{count} {complete}")

        return encode

    jobs = {"a": rows(40), "b": rows(40), "c": rows(40).select(range(10, 40))}
    for child in [in_child(work(name, dataset)) for name, dataset in jobs.items()]:
        assert os.waitpid(child, 0)[1] == 0
    counts, complete = zip(*((tmp_path / name).read_text().split() for name in jobs), strict=True)
    assert sum(map(int, counts)) == 40 and set(complete) == {"True"}


def test_a_file_that_cannot_be_read_is_encoded_again(build, tmp_path, caplog):
    model, processor = build()
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    cache.add(rows(), progress=False)
    broken = sorted(cache.store.folder.glob("*.arrow"))[0]
    broken.write_bytes(broken.read_bytes()[:-40])
    again = FeatureCache(model, processor, tmp_path, dtype="float32")
    lost = NUM_SERIES - len(again.store)
    assert lost > 0 and again.add(rows(), progress=False) == lost and len(again.store) == NUM_SERIES
    assert sum(broken.name in message for message in caplog.messages) == 1  # however often it is looked for


@pytest.fixture
def stored(tmp_path):
    """A store of one file, its keys' first byte the row, and what it holds."""
    features = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    FeatureStore(tmp_path).write([bytes([row]) * 16 for row in range(3)], features)
    return next(tmp_path.glob("*.arrow")), features


def found_in(folder):
    """What a new process would find, by row."""
    store = FeatureStore(folder)
    return {key[0]: store._files[name][row] for key, (name, row) in store._places.items()}


def test_one_flipped_bit_is_found_or_changes_nothing(stored):
    path, features = stored
    content = path.read_bytes()
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        found = found_in(path.parent)
        assert all(np.array_equal(found[row], features[row]) for row in found), place
    path.write_bytes(content)
    assert len(found_in(path.parent)) == 3


@pytest.mark.parametrize("kind", ["cut", "zeros", "empty", "text", "other table", "folder"])
def test_a_file_that_is_not_what_was_written_is_named_and_left_out(stored, caplog, kind):
    path, _ = stored
    content = path.read_bytes()
    path.unlink()
    if kind == "other table":
        table = pa.table({"key": [b"a" * 16], "features": [1.0]})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    elif kind == "folder":
        path.mkdir()
    else:
        replaced = {"cut": content[:-30], "zeros": bytes(len(content)), "empty": b"", "text": b"{" * len(content)}
        path.write_bytes(replaced[kind])
    store = FeatureStore(path.parent)
    store.refresh()
    assert len(store) == 0 and sum(str(path) in message for message in caplog.messages) == 1


def test_features_that_are_not_finite_never_leave_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "isfinite", lambda values: np.ones(np.shape(values), bool))
    FeatureStore(tmp_path).write([b"k" * 16], np.full((1, 2, 5), np.nan, np.float32))
    monkeypatch.undo()
    assert len(FeatureStore(tmp_path)) == 0


def test_files_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o002)
    try:
        store = FeatureStore(tmp_path)
        store.write([b"k" * 16], np.ones((1, 2, 5), np.float32))
        with store.lock(3, wait=True) as my_turn:
            assert my_turn
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o664"}


def test_a_lock_that_cannot_be_taken_stops_nothing(build, tmp_path):
    cache = FeatureCache(*build(), tmp_path)
    for bucket in range(8):
        (cache.store.folder / f"{bucket}.lock").mkdir(parents=True)
    assert cache.add(rows(), progress=False) == NUM_SERIES


def test_few_series_are_encoded_in_batches_as_large_as_those_of_many(build, count_images, tmp_path):
    """Their keys fall into eight buckets, which are shared by processes; nobody else being there, they go together."""
    FeatureCache(*build(), tmp_path, images_at_once=12).add(rows(), progress=False)  # 4 series of 3 variates
    assert sum(count_images) == 3 * NUM_SERIES and len(count_images) <= 6


def test_a_bucket_that_another_process_is_at_comes_last(build, tmp_path):
    cache = FeatureCache(*build(), tmp_path)
    missing = cache._missing(rows(), False)
    busy = next(iter(missing))[0] % 8
    taken = []
    with FeatureStore(cache.store.folder).lock(busy, wait=False) as mine:
        assert mine
        for own in cache._turns({key: row for key, row in missing.items() if key[0] % 8 != busy}):
            taken += own
    for own in cache._turns(missing):
        taken += own
    assert set(missing) == set(taken)


def test_a_complete_cache_is_read_without_a_lock_or_a_write(build, tmp_path, monkeypatch):
    FeatureCache(*build(), tmp_path).add(rows(), progress=False)

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    for name in ("lock", "write"):
        monkeypatch.setattr(FeatureStore, name, refuse)
    monkeypatch.setattr(os, "utime", refuse)
    cache = FeatureCache(*build(), tmp_path)
    assert cache.add(rows(), progress=False) == 0 and len(cache.store) == NUM_SERIES


def test_the_least_recently_used_files_make_room(build, tmp_path):
    old, older = (tmp_path / name for name in ("b" * 32, "a" * 32))
    for age, folder in enumerate((old, older), start=1):
        FeatureStore(folder).write([b"k" * 16], np.ones((1, 3, 1000), np.float32))
        for path in folder.glob("*.arrow"):
            os.utime(path, (time.time() - 1000 * age,) * 2)
    size = sum(path.stat().st_size for path in old.glob("*.arrow"))
    cache = FeatureCache(*build(), tmp_path)
    needed = NUM_SERIES * cache.bytes_per_series
    cache.max_size = (size + needed + 100) / 1e9
    assert cache.add(rows(), progress=False) == NUM_SERIES
    assert list(old.glob("*.arrow")) and not list(older.glob("*.arrow"))


def test_what_does_not_fit_is_not_kept_and_said(build, tmp_path, count_images, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(feature_cache.logger, "warning", said.append)
    cache = FeatureCache(*build(), tmp_path, max_size=1e-8)
    assert cache.add(rows(), progress=False) == 0 and not count_images
    assert len(said) == 1 and "Features of 14 series need" in said[0] and "feature_cache_max_size" in said[0]
    monkeypatch.setattr(feature_cache, "_ANNOUNCED_BYTES", 10)
    cache.max_size = 1.0
    cache.add(rows(), progress=False)
    assert len(said) == 2 and "where at most 1 GB are used" in said[1]
    with pytest.raises(ValueError, match="max_size is 0"):
        FeatureCache(*build(), tmp_path, max_size=0)


def test_a_worker_of_a_data_loader_finds_what_was_stored_after_it_started(build, tmp_path):
    model, processor = build()
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    worker = pickle.loads(pickle.dumps(cache.store))
    assert worker(plots(processor, rows())) is None
    cache.add(rows(), progress=False)
    assert torch.equal(worker(plots(processor, rows())), cache.store(plots(processor, rows())))


def test_keys_tell_plots_apart():
    keys = plot_keys(torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, torch.nan]]]))
    assert keys[0] == keys[1] != keys[2]
    assert plot_keys(torch.zeros(1, 1, 4)) != plot_keys(torch.zeros(1, 2, 2))


def test_a_tower_frozen_by_hand_is_encoded_without_its_dropout(build, tiny_towers, tmp_path):
    model, processor = build(freeze_vision=False, **tiny_towers("swin", "clip"))  # Swin drops whole paths in training
    model.train().base_model.vision_tower.requires_grad_(False)
    cache = FeatureCache(model, processor, tmp_path, dtype="float32")
    cache.add(rows(), progress=False)
    expected = expected_features(model.eval(), processor, rows())
    torch.testing.assert_close(cache.store(plots(processor, rows())), expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_that_is_switched_off_has_no_part_in_what_is_found(build, tmp_path):
    peft = pytest.importorskip("peft")
    model, processor = build()
    plain = expected_features(model, processor, rows())
    model.add_adapter(peft.LoraConfig(target_modules=r".*vision_tower.*q_proj", init_lora_weights=False))
    model.base_model.vision_tower.requires_grad_(False)
    adapted = FeatureCache(model, processor, tmp_path, dtype="float32")
    adapted.add(rows(), progress=False)
    assert not torch.allclose(adapted.store(plots(processor, rows())), plain, atol=1e-3)
    model.disable_adapters()
    without = FeatureCache(model, processor, tmp_path, dtype="float32")
    without.add(rows(), progress=False)
    torch.testing.assert_close(without.store(plots(processor, rows())), plain, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_cached_is_refused(build, tiny_config, tmp_path):
    model, processor = build()
    for other in (tiny_config(freeze_vision=False), tiny_config("small")):
        with pytest.raises(ValueError, match="Only a frozen vision tower"):
            FeatureCache(TimesCLIPForRegression(other), processor, tmp_path)
    with pytest.raises(ValueError, match="draws no images"):
        FeatureCache(model, TimesCLIPProcessor(image_size=None), tmp_path)
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        FeatureCache(model, processor, tmp_path, dtype="int8")


# --- in training --------------------------------------------------------------------------------------------------


def trainer_of(build, tmp_path, cache, train=None, evaluated=None, data_collator=None, **arguments: Any):
    model, processor = build()
    settings = TimesCLIPTrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="no",
        load_best_model_at_end=False,
        feature_cache=str(cache),
        feature_cache_dtype="float32",
        learning_rate=1e-3,
        disable_tqdm=True,
        report_to=[],
        **arguments,
    )
    train = rows() if train is None else train
    evaluated = rows(6, seed=2) if evaluated is None else evaluated
    return TimesCLIPTrainer(
        model,
        settings,
        processing_class=processor,
        data_collator=data_collator,
        train_dataset=train,
        eval_dataset=evaluated,
    )


def losses(trainer):
    trainer.train()
    history = trainer.state.log_history
    return [entry[name] for entry in history for name in ("loss", "eval_loss") if name in entry]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_with_the_cache_has_the_losses_of_training_without(build, tmp_path, workers, count_images):
    without = trainer_of(build, tmp_path, "off")
    expected = losses(without)
    count_images.clear()
    with_cache = trainer_of(build, tmp_path, tmp_path / "cache", dataloader_num_workers=workers)
    shown: list[int] = []
    tower = with_cache.model.base_model.vision_tower
    tower.register_forward_pre_hook(
        lambda module, args, kwargs: shown.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    np.testing.assert_allclose(losses(with_cache), expected, atol=1e-5, rtol=0)
    assert sum(shown) == sum(count_images) == (NUM_SERIES + 6) * 3  # each series once, however many epochs
    predicted = with_cache.predict(rows(6, seed=2)).predictions
    np.testing.assert_allclose(predicted, without.predict(rows(6, seed=2)).predictions, atol=1e-4)


def test_plots_that_no_answer_reads_are_not_encoded(tiny_config, tmp_path, count_images):
    series = np.random.default_rng(0).normal(size=(40, 3)).cumsum(axis=0).astype(np.float32)
    windows = ForecastWindows([series], 12, 4)
    config = tiny_config("paper", prediction_length=4, freeze_vision=True)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance")
    arguments = TimesCLIPTrainingArguments(
        str(tmp_path / "run"), feature_cache=str(tmp_path / "cache"), report_to=[], disable_tqdm=True
    )
    model = TimesCLIPForPrediction(config)
    trainer = TimesCLIPTrainer(model, arguments, processing_class=processor, eval_dataset=windows)
    unlabelled = [{"past_values": windows[i]["past_values"]} for i in range(5)]
    assert np.isfinite(trainer.predict(unlabelled).predictions).all() and not count_images
    trainer.predict([windows[i] for i in range(5)])  # with labels there is a loss, which compares with plots
    assert sum(count_images) == 5 * 3


def test_a_tower_that_learns_is_asked_at_every_step(build, tmp_path, count_images):
    trainer = trainer_of(build, tmp_path, tmp_path / "cache")
    trainer.model.base_model.vision_tower.requires_grad_(True)
    trainer.train()
    assert not count_images and not (tmp_path / "cache").exists()


def test_an_adapter_in_the_text_tower_leaves_the_vision_tower_cached(build, tmp_path, count_images):
    peft = pytest.importorskip("peft")
    trainer = trainer_of(build, tmp_path, tmp_path / "cache")
    adapted = peft.get_peft_model(trainer.model, lora_config(trainer.model, towers=["text"]))
    TimesCLIPTrainer(
        adapted, trainer.args, processing_class=trainer.processing_class, train_dataset=rows(), eval_dataset=rows()
    ).train()
    assert sum(count_images) == NUM_SERIES * 3


def test_weights_loaded_later_get_features_of_their_own(build, tmp_path):
    trainer = trainer_of(build, tmp_path, tmp_path / "cache")
    before = trainer.predict(rows()).predictions
    tower = trainer.model.base_model.vision_tower
    tower.load_state_dict({name: weight * 1.5 for name, weight in tower.state_dict().items()})
    after = trainer.predict(rows()).predictions
    model, processor = trainer.model, trainer.processing_class
    with torch.no_grad():
        expected = model(**processor(np.array(rows()["past_values"]))).predictions
    np.testing.assert_allclose(after, expected, atol=1e-4)
    assert np.abs(after - before).max() > 1e-3


def test_trainers_that_share_a_collator_keep_their_features_apart(build, tmp_path):
    (model, processor), (other, _) = build(), build()
    with torch.no_grad():
        for weight in other.base_model.vision_tower.parameters():
            weight.mul_(1.5)
    collator = TimesCLIPDataCollator(processor, draw=False)

    def predictor(model, cache):
        trainer = trainer_of(lambda: (model, processor), tmp_path, cache, data_collator=collator)
        return lambda: trainer.predict(rows()).predictions

    first, second = predictor(model, tmp_path / "cache"), predictor(other, tmp_path / "cache")
    uncached = predictor(other, "off")
    before, expected = first(), uncached()
    np.testing.assert_allclose(second(), expected, atol=1e-4)
    np.testing.assert_array_equal(first(), before)
    np.testing.assert_array_equal(uncached(), expected)
    assert np.abs(before - expected).max() > 1e-3


def test_a_tower_that_begins_to_learn_is_no_longer_read_from_the_cache(build, tmp_path):
    trainer = trainer_of(build, tmp_path, tmp_path / "cache")
    trainer.train()
    tower = trainer.model.base_model.vision_tower.requires_grad_(True)
    before = {name: weight.clone() for name, weight in tower.named_parameters()}
    trainer.optimizer = trainer.lr_scheduler = None  # made anew, with the weights that learn now
    trainer.train()
    assert all(
        not torch.equal(weight, before[name]) for name, weight in tower.named_parameters() if "norm" not in name
    )


def test_data_that_change_what_they_return_are_encoded_at_every_step(build, tmp_path):
    values = np.array(rows()["past_values"], np.float32)
    generator = np.random.default_rng(0)

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return len(values)

        def __getitem__(self, index):
            noise = generator.normal(size=values[index].shape).astype(np.float32)
            return {"past_values": values[index] + noise, "labels": values[index][-1, :1]}

    trainer = trainer_of(build, tmp_path, tmp_path / "cache", train=Noisy())
    found = losses(trainer)
    assert len(found) and np.isfinite(found).all()


def test_streamed_data_are_encoded_at_every_step(build, tmp_path, count_images):
    trainer = trainer_of(build, tmp_path, tmp_path / "cache", train=rows().to_iterable_dataset(), max_steps=3)
    trainer.train()
    # Three steps of four series, and the data to evaluate on, which have a length.
    assert sum(count_images) == (3 * 4 + 6) * 3


def test_a_stream_that_tells_its_length_is_encoded_at_every_step(build, tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __len__(self):
            return NUM_SERIES

        def __iter__(self):
            return iter(rows())

    trainer = trainer_of(build, tmp_path, tmp_path / "cache", train=Stream())
    assert len(losses(trainer)) == 2 * 4 + 2 and trainer.state.epoch == 2


def test_a_disk_that_takes_nothing_stops_training_only_where_the_folder_was_named(build, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FeatureStore, "write", refuse)
    torch.manual_seed(0)
    assert np.isfinite(losses(trainer_of(build, tmp_path, "auto", train=rows(8, seed=7)))).all()
    with pytest.raises(OSError, match="No space left"):
        trainer_of(build, tmp_path, tmp_path / "cache").train()


def test_the_default_folder_follows_hf_home(build, tmp_path):
    trainer = trainer_of(build, tmp_path, "auto")
    trainer.evaluate()
    folder = feature_cache.default_folder()
    assert str(folder).startswith(os.environ["HF_HOME"]) and list(folder.glob("*/*.arrow"))


def test_a_config_round_trip_does_not_change_what_is_found(build, tmp_path):
    model, processor = build()
    FeatureCache(model, processor, tmp_path / "cache", dtype="float32").add(rows(), progress=False)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    reloaded = TimesCLIPForRegression.from_pretrained(tmp_path / "saved")
    assert isinstance(reloaded.config, TimesCLIPConfig)
    cache = FeatureCache(
        reloaded, TimesCLIPProcessor.from_pretrained(tmp_path / "saved"), tmp_path / "cache", dtype="float32"
    )
    assert len(cache.store) == NUM_SERIES


def test_processes_that_train_together_share_the_walk_through_the_data(build, tmp_path, monkeypatch):
    model, processor = build()
    data = Dataset.from_dict({"past_values": rows(40)["past_values"][:] * 2})
    monkeypatch.setattr(feature_cache, "_ROWS_AT_ONCE", 6)
    cache = FeatureCache(model, processor, tmp_path)
    whole = cache._keys(data)
    walked = []
    plots_of = FeatureCache._plots
    monkeypatch.setattr(FeatureCache, "_plots", lambda self, d, r: walked.append(r) or plots_of(self, d, r))
    parts = [cache._keys(data, part, 3) for part in range(3)]
    assert sorted(row for part in walked for row in part) == list(range(80))  # each row once, by one of them
    assert len(whole) == 40 and sorted(set().union(*parts)) == sorted(whole)

    class State:
        process_index, num_processes = 1, 3

    def gather(own):
        assert own == [(parts[1], None)]
        return [(parts[0], None), *own, (parts[2], None)]

    monkeypatch.setattr(feature_cache, "PartialState", State)
    monkeypatch.setattr(feature_cache, "gather_object", gather)
    assert cache._shared_keys(data) == whole
    assert list(cache._shared_keys(data).items()) == sorted(whole.items(), key=lambda item: item[1])
    assert cache.add(data, progress=False, shared=True) == 40
    monkeypatch.setattr(feature_cache, "gather_object", lambda own: [*own, ({}, "ValueError: row 7")])
    with pytest.raises(ValueError, match="another process cannot read the data set: ValueError: row 7"):
        cache._shared_keys(data)
    broken = [{"past_values": np.full((12, 3), np.inf)}] * 80
    with pytest.raises(ValueError, match="infinite"):
        cache._shared_keys(broken)


def test_the_walk_reads_no_column_but_those_of_series(build, tmp_path):
    model, processor = build()
    data = rows()
    plain = FeatureCache(model, processor, tmp_path / "plain")
    plain.add(data, progress=False)
    beside = data.add_column("note", ["x"] * NUM_SERIES)
    seen = []

    def transform(batch):
        seen.append(sorted(batch))
        return batch

    assert plain.add(beside, progress=False) == 0
    assert plain.add(beside.with_transform(transform), progress=False) == 0  # which may need all of them
    assert seen and all("note" in columns for columns in seen)
