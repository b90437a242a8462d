"""Tests of how the kernel estimator learns: samples, what they cost, and parameters that act on raw features."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from mzsr.learning import estimation
from mzsr.learning.estimation import NOISE, Sample, Samples, draw_sample, fit, losses, stack
from mzsr.learning.estimator import FREQUENCIES, HEADS, NOISE_FLOOR, Estimator, decibels_lost
from mzsr.shapes import Params


@pytest.fixture(scope="module")
def pictures() -> list[Tensor]:
    """Return two photographs of sorts: spectra |f|^-2.5, colours that agree but for a little."""
    found = []
    for seed, (height, width) in enumerate([(420, 390), (300, 480)]):
        noise = torch.randn(4, height, width, generator=torch.Generator().manual_seed(seed))
        radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)).clamp(min=1 / height)
        planes = torch.fft.irfft2(torch.fft.rfft2(noise) * radius**-1.25, s=(height, width))
        picture = planes[:1] + 0.2 * planes[1:]
        found.append((128 + 35 * picture / picture.std()).clamp(0, 255).byte())
    return found


@pytest.fixture(scope="module")
def samples(pictures: list[Tensor]) -> list[Sample]:
    return [draw_sample(pictures, 0, index) for index in range(48)]


def untrained(seed: int = 0) -> Estimator:
    """Return a tiny network; what it says of noise and doubt is drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Estimator(8)


def objective(network: Estimator, parts: dict[int, Samples], parameters: Params | None = None) -> float:
    """Return mean ln(lost + 0.1) + 0.3 mean |ln noise error| + 0.1 mean |ln doubt error|, as it is written."""
    network = copy.deepcopy(network)
    network.load_state_dict(parameters or network.state_dict())
    total = []
    for head, part in parts.items():
        with torch.no_grad():
            lost, noise, doubt = losses(network, part, head)
        total += ((lost + 0.1).log() + 0.3 * noise + 0.1 * doubt).tolist()
    return sum(total) / len(total)


def same(one: Sample, two: Sample) -> bool:
    numbers = (one.head, one.noise, one.error) == (two.head, two.noise, two.error)
    return numbers and torch.equal(one.features, two.features) and torch.equal(one.response, two.response)


def test_samples_depend_on_seed_and_index_alone(pictures: list[Tensor], samples: list[Sample]) -> None:
    """In another order, and whatever the global generator has done; another seed or index is another sample."""
    with torch.random.fork_rng():
        torch.manual_seed(77)
        for index in (7, 3, 0):
            assert same(draw_sample(pictures, 0, index), samples[index])
    assert not torch.equal(draw_sample(pictures, 1, 0).features, samples[0].features)
    assert all(not torch.equal(samples[0].features, other.features) for other in samples[1:])


def test_the_truth_of_a_sample_is_a_kernel_on_its_grid(samples: list[Sample]) -> None:
    """1 at DC, where a response around its own centroid is 1 - 2 π² f² variance, and real to the third order."""
    for sample in samples:
        scale, _ = HEADS[sample.head]
        assert sample.response[0, 0] == pytest.approx(1, abs=1e-5)
        for row, column in ((0, 1), (1, 0)):
            found = sample.response[row, column]
            assert float(found.imag) == pytest.approx(0, abs=0.02)
            # `variance` of RANDOM is that of the blur; 1/4 pixels² are added by sharing points among taps, and the
            # stretched cubic, whose variance is nearly 0, may take away a little
            variance = -2 * math.log(float(found.abs())) * FREQUENCIES**2 / (2 * math.pi) ** 2
            assert -0.05 * scale**2 < variance < 1.3 * scale**2 + 0.3
        assert 0 <= sample.noise <= NOISE
        assert bool(torch.isfinite(sample.features).all())
        assert float(sample.features[-1]) == (3.0 if sample.error else 2.5)


def test_all_that_happens_to_pictures_happens(samples: list[Sample]) -> None:
    """Shares of 48 samples, within four standard errors: noise 0.4, JPEG 0.35, x2 on the centre grid 0.46."""
    for share, found in (
        (estimation.NOISY, sum(s.noise > 0 for s in samples)),
        (estimation.PACKED, sum(s.error > 0 for s in samples)),
        (estimation.SHARES[1], sum(HEADS[s.head] == (2, "centre") for s in samples)),
    ):
        assert found / 48 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 48))


def test_samples_are_sorted_by_head_and_keep_their_order(samples: list[Sample]) -> None:
    parts = stack(samples)
    assert sum(len(part.noise) for part in parts.values()) == len(samples)
    for head, part in parts.items():
        mine = [s for s in samples if s.head == head]
        again = part[torch.arange(len(mine)).flip(0)]
        for i, sample in enumerate(mine):
            for rows, place in ((part, i), (again, len(mine) - 1 - i)):
                assert torch.equal(rows.features[place], sample.features)
                assert torch.equal(rows.responses[place], sample.response)
                assert rows.noise[place].item() == pytest.approx(sample.noise)
                assert rows.error[place].item() == pytest.approx(sample.error)


def test_losses_are_decibels_and_logarithms(samples: list[Sample]) -> None:
    """Of a network that says noise e^a - NOISE_FLOOR and doubt e^b whatever it sees."""
    network = untrained()
    torch.nn.init.zeros_(network.scalars.weight)
    with torch.no_grad():
        network.scalars.bias.copy_(torch.tensor([0.0, -4.0, -1.0]))
    for head, part in stack(samples).items():
        with torch.no_grad():
            lost, noise, doubt = losses(network, part, head)
            found = network(part.features, *HEADS[head])[0]
        together = (part.noise**2 + part.error**2).sqrt()
        torch.testing.assert_close(lost, decibels_lost(found, part.responses, HEADS[head][0], together))
        torch.testing.assert_close(noise, (-4.0 - (part.noise + NOISE_FLOOR).log()).abs())
        torch.testing.assert_close(doubt, (-1.0 - (lost + 0.05).log()).abs())


@pytest.mark.parametrize("view", [1, 2, 3])
def test_a_round_belief_loses_as_much_in_every_view(samples: list[Sample], view: int) -> None:
    """Untrained, it believes in a round kernel; photographs are round, so turning the truth changes nothing."""
    network = untrained()
    torch.nn.init.zeros_(network.scalars.weight)
    for head, part in stack(samples).items():
        with torch.no_grad():
            torch.testing.assert_close(
                losses(network, part, head, view)[0], losses(network, part, head)[0], rtol=1e-3, atol=5e-3
            )


def test_the_views_are_of_features_and_truth_alike(samples: list[Sample]) -> None:
    """A network that reads its covariance off the features sees a turned picture turned, and loses as much.

    ln l of rows and of columns from the difference of two frequencies that a transpose swaps, f and fᵀ.
    """
    network = untrained()
    torch.nn.init.zeros_(network.scalars.weight)
    torch.nn.init.zeros_(network.covariance.weight)
    with torch.no_grad():
        for axis, place in enumerate((17 * 8 + 1, 17 * 1 + 8)):  # frequencies (8, 1) and (1, 8) of the first group
            network.short.weight[axis, place] = 1.5
            network.short.weight[1 - axis, place] = -1.5
    part = stack(samples)[2]
    assert HEADS[2] == (2, "corner")
    with torch.no_grad():
        lost, turned = (losses(network, part, 2, view)[0] for view in (0, 2))
        there = losses(network, Samples(part.features, part.responses.mT, part.noise, part.error), 2)[0]
    torch.testing.assert_close(turned, lost, rtol=1e-3, atol=1e-3)
    assert float((there - lost).abs().max()) > 0.1  # the truth alone turned is another thing


def test_parameters_that_learned_on_levelled_features_act_on_raw_ones(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one step the moving average is the network itself, and so f(raw; folded) = f((raw - mean) / deviation)."""
    monkeypatch.setattr(estimation, "BATCH", 24)
    network, parts = untrained(), stack(samples)
    everything = torch.cat([part.features for part in parts.values()])
    mean, deviation = everything.mean(0), everything.std(0) + 1e-2
    folded = fit(network, parts, 1, 0)
    assert float(folded["short.weight"].abs().max()) > 0
    with torch.no_grad():
        for head, part in parts.items():
            levelled = network((part.features - mean) / deviation, *HEADS[head])
            raw = functional_call(network, folded, (part.features, *HEADS[head]))
            for found, expected in zip(raw, levelled, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_learning_lowers_the_loss(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a fifth of a natural logarithm in 30 steps, on batches small enough for a test."""
    monkeypatch.setattr(estimation, "BATCH", 24)
    parts = stack(samples)
    learned = fit(untrained(), parts, 30, 3)
    assert objective(untrained(), parts, learned) < objective(untrained(), parts) - 0.2


def test_learning_repeats(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same seed; every step tells its number and its loss."""
    monkeypatch.setattr(estimation, "BATCH", 8)
    parts = stack(samples)
    told: list[list[tuple[int, float]]] = [[], [], []]
    found = [
        fit(untrained(), parts, 3, seed, lambda step, loss, log=log: log.append((step, loss)))
        for seed, log in zip((3, 3, 4), told, strict=True)
    ]
    assert [step for step, _ in told[0]] == [1, 2, 3]
    assert told[0] == told[1] != told[2]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
