import numpy as np
import pytest
import torch

from workers.sampling import Shape, Shapes, draw, row_seed, uniforms

LOGITS = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25]))


def streams(seeds: list[int], steps: int) -> np.ndarray:
    return uniforms(np.array(seeds, dtype=np.uint64)[:, None], np.arange(steps))


def drawn(shape: Shape, count: int = 4000) -> np.ndarray:
    """How often each token is drawn with evenly spread numbers, as a share."""
    numbers = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens, _, _ = draw(LOGITS.expand(count, -1), numbers, Shapes.of([shape] * count))
    return np.bincount(tokens.numpy(), minlength=4) / count


@pytest.mark.parametrize(
    ("shape", "shares"),
    [
        (Shape(), [0.1, 0.5, 0.15, 0.25]),
        (Shape(temperature=0.5), [0.01, 0.25, 0.0225, 0.0625]),
        (Shape(top_k=2), [0, 0.5, 0, 0.25]),
        (Shape(top_k=9), [0.1, 0.5, 0.15, 0.25]),
        (Shape(top_p=0.4), [0, 1, 0, 0]),
        (Shape(top_p=0.7), [0, 0.5, 0, 0.25]),
        (Shape(top_p=0.8), [0, 0.5, 0.15, 0.25]),
        (Shape(top_k=3, top_p=0.8), [0, 0.5, 0, 0.25]),
    ],
)
def test_tokens_come_as_often_as_the_shaped_distribution_says(shape: Shape, shares: list[float]) -> None:
    np.testing.assert_allclose(drawn(shape), np.array(shares) / sum(shares), atol=1e-3)


def test_rows_of_other_shapes_do_not_change_a_row() -> None:
    numbers = torch.tensor([0.3, 0.3, 0.3], dtype=torch.float64)
    shapes = [Shape(), Shape(top_k=1), Shape(temperature=2.0, top_p=0.5)]
    together = draw(LOGITS.expand(3, -1), numbers, Shapes.of(shapes))
    for at, shape in enumerate(shapes):
        alone = draw(LOGITS[None], numbers[at : at + 1], Shapes.of([shape]))
        assert [part[at].item() for part in together] == [part[0].item() for part in alone]


def test_the_likelihood_is_that_of_the_unshaped_model() -> None:
    tokens, nlls, _ = draw(
        LOGITS[None], torch.tensor([0.9], dtype=torch.float64), Shapes.of([Shape(temperature=0.1, top_k=1)])
    )
    assert tokens.item() == 1
    assert nlls.item() == pytest.approx(-np.log(0.5), abs=1e-6)


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_fall_on_tokens_that_are_kept(number: float) -> None:
    tokens, _, _ = draw(LOGITS[None], torch.tensor([number], dtype=torch.float64), Shapes.of([Shape(top_k=2)]))
    assert tokens.item() in (1, 3)


def test_a_number_on_a_boundary_is_reported_and_one_between_is_not() -> None:
    numbers = torch.tensor([0.1 + 1e-6, 0.3, 0.6 - 1e-6], dtype=torch.float64)
    _, _, wavering = draw(LOGITS.expand(3, -1), numbers, Shapes.of([Shape()] * 3))
    assert wavering.tolist() == [True, False, True]


def test_a_tie_at_the_truncation_is_reported() -> None:
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.3]]))
    _, _, wavering = draw(logits, torch.tensor([0.2], dtype=torch.float64), Shapes.of([Shape(top_k=2)]))
    assert wavering.item()


def test_streams_are_uniform_and_unlike_each_other() -> None:
    numbers = streams([row_seed(0, row, sample) for row in range(200) for sample in range(5)], 50)
    assert numbers.shape == (1000, 50) and numbers.min() >= 0 and numbers.max() < 1
    shares, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert abs(shares / 2500 - 1).max() < 0.1
    assert len(np.unique(numbers)) == numbers.size
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.02


def test_streams_stay_what_they_are() -> None:
    expected = [0.3898297483912715, 0.01678829452815611, 0.9007606806068834]
    np.testing.assert_array_equal(streams([7, 8], 3)[0], expected)


def test_seeds_differ_by_job_row_and_sample_and_stay_what_they_are() -> None:
    seeds = {row_seed(job, row, sample) for job in range(3) for row in range(30) for sample in range(30)}
    assert len(seeds) == 2700 and all(0 <= seed < 2**63 for seed in seeds)
    assert row_seed(0, 0, 0) == 759540517790923586  # changing it would change every stored molecule's recipe
