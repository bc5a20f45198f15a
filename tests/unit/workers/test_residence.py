"""Which models stay loaded: decided without torch, threads or clocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.residence import LEAST_STAY, LINGER, STAY, Load, PutAway, Refuse, Resident, Wait, decide

LONG = 1000.0  # past every stay


def resident(
    model: int, size: int, *, loaded_at: float = 0.0, load: float = 0.1, used: float = 0.0, in_use: bool = False
) -> Resident:
    return Resident(model, size, loaded_at, load, used, in_use)


def test_what_fits_is_loaded_whatever_else_is() -> None:
    assert decide(10, 10, [resident(1, 100, in_use=True)], 0.0) == Load()
    assert decide(0, 0, [], 0.0) == Load()


def test_what_does_not_fit_alone_is_refused() -> None:
    assert decide(11, 10, [], 0.0) == Refuse()


def test_the_least_recently_used_goes_and_no_more_than_it_takes() -> None:
    loaded = [resident(1, 50, used=3.0), resident(2, 50, used=1.0), resident(3, 50, used=2.0)]
    assert decide(60, 10, loaded, LONG) == PutAway((2,))
    assert decide(61, 10, loaded, LONG) == PutAway((2, 3))


def test_a_small_model_stays_where_a_larger_one_has_to_go_anyway() -> None:
    assert decide(100, 0, [resident(1, 10, used=1.0), resident(2, 100, used=2.0)], LONG) == PutAway((2,))


def test_a_model_in_use_is_never_put_away_but_takes_no_more_batches_once_its_time_is_over() -> None:
    loaded = [resident(1, 50, used=99.0, in_use=True)]
    assert decide(50, 0, loaded, LEAST_STAY - 0.1) == Wait(LEAST_STAY)
    assert decide(50, 0, loaded, LEAST_STAY) == Wait(None, frozenset({1}))


def test_a_model_stays_for_a_multiple_of_what_its_load_took() -> None:
    assert decide(50, 0, [resident(1, 50, load=30.0, in_use=True)], STAY * 30.0 - 1) == Wait(STAY * 30.0)


def test_an_idle_model_goes_after_as_long_as_its_load_took() -> None:
    assert decide(50, 0, [resident(1, 50, load=0.0, used=2.0)], 2.1) == Wait(2.0 + LINGER)
    assert decide(50, 0, [resident(1, 50, load=2.0, used=2.0)], 3.9) == Wait(4.0)
    assert decide(50, 0, [resident(1, 50, load=2.0, used=2.0)], 4.0) == PutAway((1,))


def test_an_idle_model_goes_at_once_when_every_thread_waits_for_another() -> None:
    loaded = [resident(1, 50, load=30.0)]
    assert decide(50, 0, loaded, 0.0) == Wait(30.0)
    assert decide(50, 0, loaded, 0.0, all_wait=True) == PutAway((1,))


def test_all_go_when_estimates_say_that_even_so_it_will_not_fit() -> None:
    assert decide(1000, 0, [resident(1, 50), resident(2, 0)], LONG) == PutAway((1, 2))


def test_of_models_in_use_the_same_one_is_told_to_go_from_batch_to_batch() -> None:
    for used in ((7.0, 8.0), (8.0, 7.0)):
        loaded = [
            resident(1, 50, loaded_at=2.0, used=used[0], in_use=True),
            resident(2, 50, loaded_at=1.0, used=used[1], in_use=True),
        ]
        assert decide(50, 0, loaded, LONG) == Wait(None, frozenset({2}))


RESIDENTS = st.lists(
    st.builds(
        resident,
        st.integers(),
        st.integers(0, 50),
        loaded_at=st.floats(0, 50),
        load=st.floats(0, 20),
        used=st.floats(50, 100),
        in_use=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.model,
)


@given(st.integers(0, 200), st.integers(0, 100), RESIDENTS, st.booleans())
def test_only_idle_models_go_and_one_that_waits_is_served_in_the_end(
    need: int, room: int, loaded: list[Resident], all_wait: bool
) -> None:
    """Time passes, batches end, no others may begin with what is leaving: whatever was loaded, its turn comes."""
    now = 100.0
    for _ in range(50):
        by_model = {one.model: one for one in loaded}
        match decide(need, room, loaded, now, all_wait=all_wait):
            case Load():
                assert need <= room
                return
            case Refuse():
                assert not loaded and need > room
                return
            case PutAway(models):
                assert models and not any(by_model[model].in_use for model in models)
                loaded = [one for one in loaded if one.model not in models]
                room += sum(by_model[model].size for model in models)
            case Wait(until, leaving):
                assert (until is None) == bool(leaving)
                assert until is None or until > now
                now = until or now + 1.0
                loaded = [  # models that are not leaving go on being used
                    Resident(one.model, one.size, one.loaded_at, one.load_seconds, now, one.model not in leaving)
                    if one.in_use
                    else one
                    for one in loaded
                ]
    raise AssertionError("it waits for ever")
