from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.splits import scaffold_split


def test_the_largest_scaffolds_are_learnt_from_and_the_rarest_tested() -> None:
    scaffolds = ["a"] * 5 + ["b"] * 3 + ["c", "d"]
    assert scaffold_split(scaffolds) == [[0, 1, 2, 3, 4, 5, 6, 7], [8], [9]]


def test_a_scaffold_that_does_not_fit_goes_to_a_later_part() -> None:
    assert scaffold_split(["a"] * 9 + ["b"]) == [[9], [], list(range(9))]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.randoms())
def test_every_molecule_is_in_one_part_with_all_of_its_scaffold_whatever_their_order(
    scaffolds: list[str], random: object
) -> None:
    parts = scaffold_split(scaffolds)
    assert sorted(place for part in parts for place in part) == list(range(len(scaffolds)))
    of_part = [{scaffolds[place] for place in part} for part in parts]
    assert sum(map(len, of_part)) == len(set(scaffolds))
    shuffled = list(scaffolds)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [{shuffled[place] for place in part} for part in scaffold_split(shuffled)] == of_part


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60))
def test_no_part_but_the_last_holds_more_than_its_share(scaffolds: list[str]) -> None:
    train, choose, _ = scaffold_split(scaffolds)
    assert len(train) <= 0.8 * len(scaffolds)
    assert len(choose) <= 0.1 * len(scaffolds)
