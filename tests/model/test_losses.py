# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The contrastive objective against hand-worked numbers, NumPy, and two real processes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing

from timesclip_hf.model.losses import alignment_loss, gather_embeds, info_nce, uncertainty_weighted

LOG_SCALE = math.log(1 / 0.07)


def numpy_info_nce(image: np.ndarray, text: np.ndarray, log_scale: float) -> float:
    """Symmetric InfoNCE of (B, D) rows by its definition, in double precision."""
    image = image / np.linalg.norm(image, axis=1, keepdims=True)
    text = text / np.linalg.norm(text, axis=1, keepdims=True)
    logits = math.exp(log_scale) * image @ text.T

    def cross_entropy(rows: np.ndarray) -> float:
        top = rows.max(axis=1, keepdims=True)
        log_probabilities = rows - top - np.log(np.exp(rows - top).sum(axis=1, keepdims=True))
        return float(-np.diag(log_probabilities).mean())

    return (cross_entropy(logits) + cross_entropy(logits.T)) / 2


def random_embeds(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator), torch.randn(*shape, generator=generator)


def test_two_orthogonal_pairs_by_hand():
    # logits [[s, 0], [0, s]]: every row loses log(1 + exp(-s)), here with 1 / tau = 2 and lengths that must not count
    image = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    text = torch.tensor([[0.1, 0.0], [0.0, 7.0]])
    assert info_nce(image, text, math.log(2)).item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


def test_asymmetric_pairs_by_hand():
    # cosines [[1, .6], [0, .8]] with 1 / tau = 1. image -> text: log(1 + e^-.4), log(1 + e^-.8);
    # text -> image: log(1 + e^-1), log(1 + e^-.2)
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    gaps = (0.4, 0.8, 1.0, 0.2)
    expected = sum(math.log(1 + math.exp(-gap)) for gap in gaps) / 4
    assert info_nce(image, text, 0.0).item() == pytest.approx(expected, abs=1e-6)


def test_swapped_pairs_lose_more_than_matching_ones():
    image = torch.eye(3)
    assert info_nce(image, image.roll(1, 0), LOG_SCALE) > 10 > 0.01 > info_nce(image, image, LOG_SCALE)


@pytest.mark.parametrize("shape", [(5, 8), (2, 3), (33, 16)])
def test_random_batches_equal_numpy(shape):
    image, text = random_embeds(*shape)
    expected = numpy_info_nce(image.double().numpy(), text.double().numpy(), LOG_SCALE)
    assert info_nce(image, text, LOG_SCALE).item() == pytest.approx(expected, rel=1e-5)
    assert info_nce(image, text, torch.tensor(LOG_SCALE)).item() == pytest.approx(expected, rel=1e-5)
    assert info_nce(text, image, LOG_SCALE).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["variate", "global", "hybrid"])
def test_a_batch_of_one_has_no_negatives_and_no_loss(mode):
    image, text = random_embeds(1, 3, 8)
    assert alignment_loss(image, text, LOG_SCALE, mode).item() == 0
    assert info_nce(image[:, 0], text[:, 0], LOG_SCALE).item() == 0


@pytest.mark.parametrize("log_scale", [math.log(100), 6.0, 50.0])
def test_logits_are_never_multiplied_by_more_than_100(log_scale):
    image, text = random_embeds(4, 8)
    expected = numpy_info_nce(image.double().numpy(), text.double().numpy(), math.log(100))
    assert info_nce(image, text, log_scale).item() == pytest.approx(expected, rel=1e-5)
    assert info_nce(image, text, torch.tensor(log_scale)).item() == pytest.approx(expected, rel=1e-5)


def test_variate_mode_is_the_mean_over_variates():
    image, text = random_embeds(6, 3, 8)
    each = [numpy_info_nce(image[:, v].double().numpy(), text[:, v].double().numpy(), LOG_SCALE) for v in range(3)]
    assert alignment_loss(image, text, LOG_SCALE, "variate").item() == pytest.approx(np.mean(each), rel=1e-5)


def test_global_mode_compares_all_variates_side_by_side():
    image, text = random_embeds(6, 3, 8)
    expected = numpy_info_nce(
        np.concatenate([image[:, v].double().numpy() for v in range(3)], axis=1),
        np.concatenate([text[:, v].double().numpy() for v in range(3)], axis=1),
        LOG_SCALE,
    )
    assert alignment_loss(image, text, LOG_SCALE, "global").item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_hybrid_mode_shares_by_alpha(alpha):
    image, text = random_embeds(6, 3, 8)
    variate = alignment_loss(image, text, LOG_SCALE, "variate").item()
    whole = alignment_loss(image, text, LOG_SCALE, "global").item()
    assert abs(variate - whole) > 0.01
    hybrid = alignment_loss(image, text, LOG_SCALE, "hybrid", alpha).item()
    assert hybrid == pytest.approx(alpha * variate + (1 - alpha) * whole, rel=1e-5)


def test_alpha_matters_in_hybrid_mode_only():
    image, text = random_embeds(6, 3, 8)
    for mode in ("variate", "global"):
        losses = {alignment_loss(image, text, LOG_SCALE, mode, alpha).item() for alpha in (0.0, 0.5, 1.0)}
        assert len(losses) == 1


def test_the_loss_stays_fp32_under_bf16_autocast():
    image, text = random_embeds(16, 3, 8)
    plain = alignment_loss(image, text, LOG_SCALE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = alignment_loss(image, text, LOG_SCALE)
        pair = info_nce(image[:, 0], text[:, 0], LOG_SCALE)
    assert mixed.dtype == pair.dtype == torch.float32
    assert mixed.item() == plain.item()
    assert alignment_loss(image.bfloat16(), text.bfloat16(), LOG_SCALE).dtype == torch.float32


@pytest.mark.parametrize("bad", [((4, 8), (3, 8)), ((4, 8), (4, 9)), ((4, 2, 8), (4, 2, 8)), ((8,), (8,))])
def test_info_nce_refuses_shapes_and_names_them(bad):
    with pytest.raises(ValueError, match=r"\(batch, dim\), got .*" + str(bad[0][-1])):
        info_nce(torch.zeros(bad[0]), torch.zeros(bad[1]), LOG_SCALE)


@pytest.mark.parametrize("bad", [((4, 3, 8), (4, 2, 8)), ((4, 1, 8), (1, 4, 8)), ((4, 8), (4, 8))])
def test_alignment_loss_refuses_shapes_and_names_them(bad):
    with pytest.raises(ValueError, match=r"\(batch, variates, dim\), got"):
        alignment_loss(torch.zeros(bad[0]), torch.zeros(bad[1]), LOG_SCALE)


def test_alignment_loss_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="'variate', 'global' or 'hybrid', got 'both'"):
        alignment_loss(*random_embeds(2, 2, 4), LOG_SCALE, "both")


def test_uncertainty_weighting_by_hand():
    # s = (0, ln 2): 1 x 3 + 0 + 1/2 x 4 + ln 2; d/ds = 1 - exp(-s) loss = (1 - 3, 1 - 2)
    log_variances = torch.tensor([0.0, math.log(2)], requires_grad=True)
    loss = uncertainty_weighted(torch.tensor(3.0), torch.tensor(4.0), log_variances)
    loss.backward()
    assert loss.item() == pytest.approx(5 + math.log(2))
    assert log_variances.grad.tolist() == pytest.approx([-2.0, -1.0])


def test_gather_returns_its_input_without_processes():
    embeds = torch.randn(2, 3)
    assert gather_embeds(embeds) is embeds


def _rank_main(rank: int, folder: str) -> None:
    """One of two processes: its half of the batch, the loss on the gathered whole, its parameters' gradient."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    inputs = load_file(f"{folder}/inputs.safetensors")
    image, text, weight = inputs["image"], inputs["text"], inputs["weight"]
    half = slice(0, 2) if rank == 0 else slice(2, len(image))  # shares of unequal size
    weight.requires_grad_()
    mine = (image[half] @ weight).requires_grad_()
    mine.retain_grad()
    loss = alignment_loss(gather_embeds(mine), gather_embeds(text[half]), LOG_SCALE, "hybrid", 0.3)
    loss.backward()
    distributed.all_reduce(weight.grad)  # what DistributedDataParallel does with the parameters' gradients
    # Addition hands one gradient tensor to both of its terms: gathering may not write into it.
    rows, beside = torch.ones(2, 1, requires_grad=True), torch.ones(4, 1, requires_grad=True)
    copied = beside * 1
    (gather_embeds(rows) + copied).square().sum().backward()
    found = {"loss": loss.detach(), "mine": mine.grad, "weight": weight.grad / 2}
    save_file({**found, "rows": rows.grad, "beside": beside.grad}, f"{folder}/rank{rank}.safetensors")
    distributed.destroy_process_group()


def test_two_processes_equal_one_on_the_whole_batch(tmp_path: Path):
    image, text = random_embeds(6, 3, 8)
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    save_file({"image": image, "text": text, "weight": weight}, tmp_path / "inputs.safetensors")
    multiprocessing.spawn(_rank_main, args=(str(tmp_path),), nprocs=2)

    weight.requires_grad_()
    projected = image @ weight
    projected.retain_grad()
    expected = alignment_loss(projected, text, LOG_SCALE, "hybrid", 0.3)
    expected.backward()
    for rank in range(2):
        found = load_file(tmp_path / f"rank{rank}.safetensors")
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
        # both processes' losses reach these rows, and averaging over processes halves that again
        torch.testing.assert_close(found["mine"] / 2, projected.grad[:2] if rank == 0 else projected.grad[2:])
        torch.testing.assert_close(found["weight"], weight.grad)
        assert found["rows"].flatten().tolist() == [8.0, 8.0]  # d/dx of (x + 1)^2 at 1, from both processes
        assert found["beside"].flatten().tolist() == [4.0] * 4
