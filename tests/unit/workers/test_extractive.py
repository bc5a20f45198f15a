from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest

from schemas.errors import ModelUnavailable, RowError, UsageError
from schemas.items import Item, Molecule, Paper, Rejected, Section
from schemas.outcomes import Failed, Summary
from schemas.registry import load_registry
from workers import selection
from workers.engines.contract import Prepared
from workers.engines.extractive import ExtractiveEngine, load

ENTRY = load_registry().get("minilm-extractive")
SUBJECTS = ["The enzyme", "Our model", "A mutant strain", "This network", "The protein", "Each patient", "The compound"]
DEEDS = ["binds the receptor", "predicts toxicity", "grows on glucose", "reduces the error", "inhibits the kinase"]
ENDS = ["at low temperature in all the samples", "in a dose dependent way over three days", "better than the baseline"]


@pytest.fixture(scope="module")
def engine() -> ExtractiveEngine:
    return load(ENTRY, "cpu")


def paper(seed: int, sentences: int = 12) -> Paper:
    draw = Random(seed)
    said = [f"{draw.choice(SUBJECTS)} {draw.choice(DEEDS)} {draw.choice(ENDS)}." for _ in range(sentences)]
    half = sentences // 2
    return Paper(
        f"On {draw.choice(SUBJECTS).lower()}",
        (Section("Introduction", tuple(said[:half])), Section("Results", tuple(said[half:]))),
    )


def prepared(engine: ExtractiveEngine, content: Paper, row: int = 0, **parameters: object) -> Prepared:
    (unit,) = engine.cpu.prepare(Item(row, content), parameters)
    assert isinstance(unit, Prepared)
    return unit


def summarized(engine: ExtractiveEngine, content: Paper, **parameters: object) -> Summary:
    return engine.run([prepared(engine, content, **parameters)])[0]


def test_a_summary_quotes_the_paper_in_its_order_and_says_where(engine: ExtractiveEngine) -> None:
    content = paper(1)
    summary = summarized(engine, content, sentences=4)
    places = [(sentence.section, sentence.sentence) for sentence in summary.sentences]
    assert places == sorted(set(places)) and len(places) == 4
    for sentence in summary.sentences:
        assert content.sections[sentence.section].paragraphs[sentence.sentence] == sentence.text
        assert -1 <= sentence.score <= 1
    assert summary.text == " ".join(sentence.text for sentence in summary.sentences)
    assert summary.coverage == 1.0


def test_what_the_paper_is_about_wins_over_what_it_mentions(engine: ExtractiveEngine) -> None:
    about = [
        f"The new catalyst splits water into hydrogen and oxygen {how}."
        for how in ("at pH 7", "in sunlight", "cheaply")
    ]
    aside = [
        "The authors had lunch together in the old town on Monday.",
        "A football match was shown on the television that day.",
    ]
    content = Paper("A catalyst for splitting water", (Section("Body", (aside[0], *about, aside[1])),))
    assert not {sentence.text for sentence in summarized(engine, content, sentences=3).sentences} & set(aside)


def test_a_sentence_said_twice_is_chosen_once(engine: ExtractiveEngine) -> None:
    said = "The new catalyst splits water into hydrogen and oxygen in sunlight."
    other = "Its surface was then studied by electron microscopy in great detail."
    summary = summarized(engine, Paper("", (Section("", (said, said, other, said)),)), sentences=2)
    assert [sentence.text for sentence in summary.sentences] == [said, other]


def test_summaries_do_not_depend_on_what_shares_the_batch(engine: ExtractiveEngine) -> None:
    units = [prepared(engine, paper(seed, 6 + seed % 9), row=seed) for seed in range(12)]
    alone = {unit.row: engine.run([unit])[0] for unit in units}
    draw = Random(5)
    for size in (3, 12):
        draw.shuffle(units)
        for at in range(0, len(units), size):
            for summary in engine.run(units[at : at + size]):
                expected = alone[summary.row]
                assert summary.text == expected.text
                np.testing.assert_allclose(
                    [sentence.score for sentence in summary.sentences],
                    [sentence.score for sentence in expected.sentences],
                    atol=1e-5,
                )


def test_a_choice_on_the_edge_is_made_as_if_alone(engine: ExtractiveEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    units = [prepared(engine, paper(seed), row=seed) for seed in range(4)]
    alone = [engine.run([unit])[0] for unit in units]
    monkeypatch.setattr("workers.engines.extractive.FIRM", 1.0)  # so that every choice is on the edge
    assert engine.run(units) == alone  # to the last bit, scores included


def test_rows_come_back_in_order(engine: ExtractiveEngine) -> None:
    units = [prepared(engine, paper(row, 8), row=row) for row in (5, 3, 9)]
    assert [summary.row for summary in engine.run(units)] == [5, 3, 9]


def test_tokens_count_the_sentences_that_are_read(engine: ExtractiveEngine) -> None:
    unit = prepared(engine, paper(2))
    assert unit.tokens == sum(len(ids) for ids in unit.data.ids) == engine.run([unit])[0].tokens


def test_a_paper_past_the_limit_is_read_in_part_from_beginning_to_end(engine: ExtractiveEngine) -> None:
    content = paper(3, 40)
    whole = prepared(engine, content).tokens
    small = ENTRY.model_copy(update={"limits": ENTRY.limits.model_copy(update={"max_tokens": whole // 2})})
    engine_of_less = load(small, "cpu")
    unit = prepared(engine_of_less, content)
    assert unit.tokens <= whole // 2
    assert {place.section for place in unit.data.places} == {0, 1}
    assert (
        engine_of_less.run([unit])[0].coverage == pytest.approx(len(unit.data.places) / 40)
        and len(unit.data.places) > 15
    )


def test_a_sentence_longer_than_the_window_is_cut_and_counts_as_read(engine: ExtractiveEngine) -> None:
    unit = prepared(engine, Paper("", (Section("", ("word " * 400 + "end.",)),)))
    assert unit.tokens == 256
    assert engine.run([unit])[0].coverage == 1.0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (Paper("Empty", (Section("Introduction", (" ", "3.5. 7.")),)), RowError.EMPTY_TEXT),
        (Paper("Only references", (Section("References", ("Smith wrote it.",)),)), RowError.EMPTY_TEXT),
        (Rejected(RowError.MALFORMED_XML, "line 3"), RowError.MALFORMED_XML),
        (Molecule("CCO"), RowError.UNSUPPORTED),
    ],
)
def test_a_row_without_usable_text_fails_with_its_reason(
    engine: ExtractiveEngine, content: object, code: RowError
) -> None:
    (failed,) = engine.cpu.prepare(Item(4, content), {})  # type: ignore[arg-type]
    assert isinstance(failed, Failed) and (failed.row, failed.code) == (4, code)


@pytest.mark.parametrize("parameters", [{"sentences": 0}, {"sentences": "many"}, {"sentnces": 3}, {"relevance": 2}])
def test_a_parameter_that_cannot_be_meant_is_refused(engine: ExtractiveEngine, parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"parameter '{next(iter(parameters))}'"):
        engine.cpu.prepare(Item(0, paper(1)), parameters)


def test_a_shorter_paper_than_the_summary_is_given_whole(engine: ExtractiveEngine) -> None:
    assert len(summarized(engine, Paper("", (Section("", ("It grew.",)),))).sentences) == 1


def test_threads_prepare_at_once_with_equal_results(engine: ExtractiveEngine) -> None:
    items = [Item(row, paper(row)) for row in range(40)]
    expected = [engine.cpu.prepare(item, {}) for item in items]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda item: engine.cpu.prepare(item, {}), items)) == expected


def test_half_precision_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="fp32"):
        load(ENTRY.model_copy(update={"precision": "bf16"}), "cpu")


def test_changed_weights_are_refused() -> None:
    weights = ENTRY.weights.model_copy(update={"sha256": {"model.safetensors": "0" * 64}})
    with pytest.raises(ModelUnavailable, match="sha256"):
        load(ENTRY.model_copy(update={"weights": weights}), "cpu")


def test_selection_prefers_unlike_sentences_when_relevance_is_low() -> None:
    vectors = np.array([[1.0, 0.0], [0.999, 0.0447], [0.6, 0.8]])
    towards = np.array([1.0, 0.0])
    assert selection.choose(vectors, towards, [0, 1, 2], 2, relevance=1.0).chosen == (0, 1)
    assert selection.choose(vectors, towards, [0, 1, 2], 2, relevance=0.3).chosen == (0, 2)


def test_selection_breaks_ties_by_order_and_says_that_they_were_ties() -> None:
    vectors = np.array([[0.6, 0.8], [0.6, -0.8]])
    choice = selection.choose(vectors, np.array([1.0, 0.0]), [0, 1], 1, relevance=1.0)
    assert choice.chosen == (0,) and choice.margin == 0
