import pickle
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ModelUnavailable, RowError, UsageError
from schemas.items import Item
from schemas.outcomes import Failed, Summary
from tests.checkpoints import make_smiles_checkpoint
from tests.seq2seq_checkpoint import make_bart_checkpoint, make_t5_checkpoint, paper, seq2seq_entry
from workers.batcher import Batcher
from workers.engines.contract import ContinuousEngine, Prepared
from workers.engines.fixed_decoding import FixedDecoding
from workers.engines.next_token import Stream, streams
from workers.engines.seq2seq import FixedEngine, T5Engine, load

PAPERS = 100
MOST = 40
KINDS = {
    "plain, tied": {"gated": False, "tied": True},
    "plain, untied": {"gated": False, "tied": False},
    "gated, tied": {"gated": True, "tied": True},
    "gated, untied": {"gated": True, "tied": False},
}


def prepared(engine: Any, count: int = PAPERS, first: int = 0, **parameters: Any) -> list[Prepared]:
    units = [
        engine.cpu.prepare(Item(row, paper(row)), {"max_new_tokens": MOST} | parameters)[0]
        for row in range(first, first + count)
    ]
    assert all(isinstance(unit, Prepared) for unit in units)
    return units


def generated(engine: Any, model: Any, units: Sequence[Prepared], **settings: Any) -> list[str]:
    """What `generate` writes of each paper, one window at a time, pass after pass."""
    return [" ".join(part for part in written(engine, model, unit, **settings)[-1] if part) for unit in units]


def written(engine: Any, model: Any, unit: Prepared, **settings: Any) -> list[list[str]]:
    """What `generate` writes of each window, for every pass."""
    found = []
    reading = unit.data
    while reading is not None:
        parts = [
            model.generate(
                input_ids=torch.tensor([ids]),
                do_sample=False,
                **{"num_beams": 1, "max_new_tokens": MOST} | settings,
            )[0, 1:]
            for ids in reading.windows
        ]
        found.append([engine.cpu.text(part.tolist()) for part in parts])
        reading = engine.cpu.again(unit.row, reading, found[-1])
    return found


def texts(engine: Any, units: Sequence[Prepared]) -> list[str]:
    outcomes = engine.run(units)
    assert [outcome.row for outcome in outcomes] == [unit.row for unit in units]
    return [outcome.text for outcome in outcomes]


def decoded(engine: Any, units: Sequence[Prepared]) -> list[list[int]]:
    """The tokens of each window, by the engine's own decoding."""
    parts = [stream for unit in units for stream in streams(unit.data)]
    alone = [Prepared(at, 1, _single(stream, units)) for at, stream in enumerate(parts)]
    decoding = engine.decode()
    decoding.admit(alone)
    papers = list(decoding._open)
    while decoding._open:
        decoding.step()
    return [paper.streams[0].tokens for paper in papers]


def _single(stream: Stream, units: Sequence[Prepared]) -> Any:
    from dataclasses import replace

    return replace(units[0].data, windows=(stream.source,), seeds=(stream.seed,), asked=stream.asked)


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_t5_checkpoint(tmp_path_factory.mktemp("t5"), **KINDS[request.param])


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Any:
    return load(seq2seq_entry(checkpoint), "cpu")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    from transformers import AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> T5Engine:
    torch.set_num_threads(1)
    folder = make_t5_checkpoint(tmp_path_factory.mktemp("small"), gated=True, tied=False)
    made = load(seq2seq_entry(folder), "cpu")
    assert isinstance(made, T5Engine)
    return made


def test_what_these_checkpoints_write_varies(engine: Any) -> None:
    assert len(set(texts(engine, prepared(engine, passes=1)))) >= 0.9 * PAPERS
    units = prepared(engine)
    outcomes = engine.run(units)
    # Later passes read what was written, and less differs: 76 papers of 100 to 98, by weights and by processor.
    assert len({outcome.text for outcome in outcomes}) >= 0.6 * PAPERS
    assert sum(outcome.tokens > unit.data.tokens for outcome, unit in zip(outcomes, units, strict=True)) > PAPERS / 10
    sizes = {len(tokens) for tokens in decoded(engine, units)}
    assert len(sizes) >= 20 and min(sizes) < MOST / 4


def test_greedy_is_what_generate_writes_of_each_paper_alone(
    engine: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engines.t5_decoding.SLOTS", {"cpu": 8})  # so that many join those that run
    units = prepared(engine, PAPERS // 2)
    assert texts(engine, units) == generated(engine, model, units)


def test_long_texts_are_written_past_the_room_that_there_is_at_first(
    engine: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns are added, and those that nobody reads are dropped, while rows leave and join."""
    monkeypatch.setattr("workers.engines.t5_decoding.SLOTS", {"cpu": 4})
    units = [
        engine.cpu.prepare(Item(row, paper(row, 3)), {"max_new_tokens": most, "min_new_tokens": most // 2})[0]
        for row, most in enumerate((20, 290, 90, 30, 150, 160, 40, 200, 20, 100))
    ]
    alone = [
        generated(engine, model, [unit], max_new_tokens=asked.max_new_tokens, min_new_tokens=asked.min_new_tokens)[0]
        for unit in units
        for asked in [unit.data.asked]
    ]
    assert texts(engine, units) == alone


@pytest.mark.parametrize("least", [0, 5, MOST])
def test_a_summary_has_no_fewer_and_no_more_tokens_than_asked(small: T5Engine, least: int) -> None:
    sizes = [len(tokens) for tokens in decoded(small, prepared(small, 40, min_new_tokens=least))]
    assert all(least <= size <= MOST for size in sizes)
    assert least == MOST or min(sizes) <= least + 3


def test_a_row_near_a_tie_is_written_by_generate_itself(small: T5Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engines.next_token.NOISE", 1e9)  # so that every choice is one
    asked = []
    alone = FixedDecoding.alone
    monkeypatch.setattr(FixedDecoding, "alone", lambda self, stream: (asked.append(stream), alone(self, stream)))
    units = prepared(small, 6, passes=1)
    written = texts(small, units)
    assert len(asked) == sum(len(unit.data.windows) for unit in units)
    assert written == generated(small, small._fixed._model, units)


def test_noise_between_batches_is_far_below_what_counts_as_a_tie(small: T5Engine) -> None:
    """The measure behind `NOISE`: the same rows at the first step alone and together."""
    from workers.engines.next_token import NOISE
    from workers.engines.t5_cache import T5Cache

    network = small._network
    sources = [stream.source for unit in prepared(small, 30) for stream in streams(unit.data)]

    def logits(texts: list[Any]) -> torch.Tensor:
        with torch.inference_mode():
            cache = T5Cache(network.layers, network.heads, network.width, network.embedding)
            cache.join(network.encode(texts))
            return network.step(torch.zeros(len(texts), dtype=torch.long), cache)

    together = logits(sources)
    alone = torch.cat([logits([source]) for source in sources])
    moved = ((together - alone).abs().amax(-1) / alone.abs().amax(-1)).max().item()
    assert 0 < moved < NOISE / 2


def test_draws_are_the_same_in_any_company_and_differ_by_seed(small: T5Engine) -> None:
    units = prepared(small, 20, temperature=1.0, seed=3)
    written = texts(small, units)
    assert written == [texts(small, [unit])[0] for unit in units]
    order = Random(0).sample(range(20), 20)
    assert [texts(small, [units[at] for at in order])[order.index(at)] for at in (0, 7, 19)] == [
        written[at] for at in (0, 7, 19)
    ]
    other = texts(small, prepared(small, 20, temperature=1.0, seed=4))
    assert sum(one == two for one, two in zip(written, other, strict=True)) <= 2


def test_a_draw_near_an_edge_is_the_same_through_generate(small: T5Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    units = prepared(small, 10, temperature=1.0, top_k=20, top_p=0.9)
    written = texts(small, units)
    monkeypatch.setattr("workers.sampling.NOISE", 1e9)  # so that all are decoded again alone
    assert texts(small, units) == written


def test_beams_are_searched_as_generate_does(small: T5Engine) -> None:
    units = prepared(small, 12, num_beams=3)
    assert texts(small, units) == generated(small, small._fixed._model, units, num_beams=3)


def test_rows_with_and_without_beams_draws_and_bounds_share_a_batch(small: T5Engine) -> None:
    units = [
        *prepared(small, 6),
        *prepared(small, 4, first=6, num_beams=2),
        *prepared(small, 6, first=10, temperature=0.8),
        *prepared(small, 6, first=16, min_new_tokens=10, max_new_tokens=12),
    ]
    assert texts(small, units) == [texts(small, [unit])[0] for unit in units]


def test_half_precision_writes_for_every_paper(tmp_path: Path) -> None:
    engine = load(seq2seq_entry(make_t5_checkpoint(tmp_path), precision="bf16"), "cpu")
    assert engine._network.dtype is torch.bfloat16
    written = texts(engine, prepared(engine, 20))
    assert len(set(written)) > 10


def test_other_architectures_go_through_generate(tmp_path: Path) -> None:
    engine = load(seq2seq_entry(make_bart_checkpoint(tmp_path)), "cpu")
    assert isinstance(engine, FixedEngine) and not isinstance(engine, ContinuousEngine)
    units = prepared(engine, 30)
    assert len(set(texts(engine, prepared(engine, 30, passes=1)))) >= 25
    outcomes = engine.run(units)
    assert [outcome.text for outcome in outcomes] == generated(engine, engine._fixed._model, units)
    assert sum(outcome.tokens > unit.data.tokens for outcome, unit in zip(outcomes, units, strict=True)) > 5
    drawn = prepared(engine, 10, temperature=1.0)
    assert texts(engine, drawn) == [texts(engine, [unit])[0] for unit in drawn]


def test_a_t5_that_asks_for_more_than_the_most_probable_token_goes_through_generate(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    folder = make_t5_checkpoint(tmp_path)
    GenerationConfig(
        no_repeat_ngram_size=2, eos_token_id=[1, 5], pad_token_id=0, decoder_start_token_id=0
    ).save_pretrained(folder)
    engine = load(seq2seq_entry(folder), "cpu")
    assert isinstance(engine, FixedEngine)
    units = prepared(engine, 20)
    assert texts(engine, units) == generated(engine, engine._fixed._model, units)


def test_any_of_several_end_tokens_ends_a_text(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    folder = make_t5_checkpoint(tmp_path)
    ends = [1, *range(60, 70)]
    GenerationConfig(eos_token_id=ends, pad_token_id=0, decoder_start_token_id=0).save_pretrained(folder)
    engine = load(seq2seq_entry(folder), "cpu")
    assert isinstance(engine, T5Engine)
    units = prepared(engine, 20)
    assert texts(engine, units) == generated(engine, engine._fixed._model, units)
    assert len({tokens[-1] for tokens in decoded(engine, units)} & set(ends)) > 2


def long_paper(engine: Any, number: int, **parameters: Any) -> Prepared:
    (unit,) = engine.cpu.prepare(Item(number, paper(number, 60)), {"max_new_tokens": MOST} | parameters)
    assert isinstance(unit, Prepared) and len(unit.data.windows) > 6
    return unit


def test_in_one_pass_a_summary_joins_what_was_written_of_each_window(small: T5Engine) -> None:
    unit = long_paper(small, 7, passes=1)
    (parts,) = written(small, small._fixed._model, unit)
    assert len(parts) == len(unit.data.windows)
    assert texts(small, [unit]) == [" ".join(parts)]


def test_what_was_written_of_a_long_paper_is_read_again_until_it_is_no_longer_than_a_summary(small: T5Engine) -> None:
    unit = long_paper(small, 7)
    passes = written(small, small._fixed._model, unit)
    counts = [len(parts) for parts in passes]
    assert len(counts) > 2 and counts == sorted(counts, reverse=True) and counts[-1] == 1
    (summary,) = small.run([unit])
    assert [summary.text] == passes[-1]
    assert summary.coverage == 1.0


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_no_more_passes_are_made_than_asked_for(small: T5Engine, passes: int) -> None:
    every = written(small, small._fixed._model, long_paper(small, 7))
    limited = written(small, small._fixed._model, long_paper(small, 7, passes=passes))
    assert limited == every[:passes]


@pytest.mark.parametrize("parameters", [{}, {"max_new_tokens": 100}, {"passes": 2}, {"max_windows": 4}])
def test_a_row_reads_and_writes_no_more_than_it_is_counted_with(small: T5Engine, parameters: dict[str, int]) -> None:
    for number in range(8):
        (unit,) = small.cpu.prepare(Item(number, paper(number, 60)), {"max_new_tokens": MOST} | parameters)
        read = written_tokens = 0
        reading = unit.data
        while reading is not None:
            read += sum(map(len, reading.windows))
            written_tokens += len(reading.windows) * reading.asked.max_new_tokens
            assert reading.tokens == read
            assert read + written_tokens + reading.spare <= unit.tokens
            last = reading
            reading = small.cpu.again(number, reading, ["The enzyme binds 8 ligands."] * len(reading.windows))
        assert last.spare >= 0
    (summary,) = small.run([unit])
    assert unit.data.tokens < summary.tokens < unit.tokens


def test_an_engines_summaries_are_finished_with_their_papers_sentences(small: T5Engine) -> None:
    (outcome,) = small.run([long_paper(small, 7)])
    summary = small.cpu.finish(pickle.loads(pickle.dumps(outcome)))
    assert type(summary) is Summary
    assert summary.text == " ".join(one.text for one in summary.sentences)
    assert summary.support == min(one.score for one in summary.sentences)


def test_more_than_a_decoder_has_positions_for_is_refused(tmp_path: Path) -> None:
    engine = load(seq2seq_entry(make_bart_checkpoint(tmp_path)), "cpu")
    with pytest.raises(UsageError, match="255"):
        engine.cpu.prepare(Item(0, paper(0)), {"max_new_tokens": 256})


def served(engine: Any, units: Sequence[Prepared]) -> tuple[list[Any], Any]:
    batcher = Batcher(engine)
    batcher.start()
    try:
        return batcher.submit(units, job=1).result(120), batcher.stats()
    finally:
        batcher.stop(drain=10)


def test_through_the_batcher_rows_join_those_that_run(small: T5Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engines.t5_decoding.SLOTS", {"cpu": 8})
    limits = small.entry.limits.model_copy(update={"max_rows": 16})
    monkeypatch.setattr(small, "entry", small.entry.model_copy(update={"limits": limits}))
    units = prepared(small)
    outcomes, stats = served(small, units)
    assert outcomes == small.run(units)
    assert any(outcome.tokens > unit.data.tokens for outcome, unit in zip(outcomes, units, strict=True))
    assert stats.fault_splits == 0 and stats.micro_batches > 10


def test_a_row_that_the_model_cannot_read_fails_alone(small: T5Engine) -> None:
    from dataclasses import replace

    units = prepared(small, 20)
    expected = texts(small, units)
    units[7] = replace(units[7], data=replace(units[7].data, windows=((3, 100_000, 1),), seeds=(0,)))
    outcomes, _ = served(small, units)
    assert isinstance(outcomes[7], Failed) and outcomes[7].code is RowError.ENGINE
    assert [out.text for out in outcomes if isinstance(out, Summary)] == expected[:7] + expected[8:]


def assert_refused(folder: Path, reason: str) -> None:
    with pytest.raises(ModelUnavailable, match=reason) as refused:
        load(seq2seq_entry(folder), "cpu")
    assert "\n" not in str(refused.value)


def test_a_decoder_alone_is_refused(tmp_path: Path) -> None:
    assert_refused(make_smiles_checkpoint(tmp_path), "cannot be read as a model")


def test_weights_that_would_be_drawn_at_random_are_refused(tmp_path: Path) -> None:
    file = make_t5_checkpoint(tmp_path) / "model.safetensors"
    weights = load_file(file)
    del weights["decoder.block.1.layer.1.EncDecAttention.k.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    assert_refused(tmp_path, "EncDecAttention")


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    (make_t5_checkpoint(tmp_path) / "model.safetensors").unlink()
    assert_refused(tmp_path, "no safetensors")


@pytest.mark.parametrize("make", [make_t5_checkpoint, make_bart_checkpoint])
def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path, make: Any) -> None:
    for file in make(tmp_path).glob("tokenizer*"):
        file.unlink()
    assert_refused(tmp_path, "tokenizer")


def test_the_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    assert_refused(make_t5_checkpoint(tmp_path, vocab_size=100), "more tokens than the model knows")


def test_logits_do_not_depend_on_who_joined_and_left_before(tmp_path: Path) -> None:
    """With soft attention, where each column and each place of padding would be seen; past 256 columns, so that
    columns are added at first and dropped later.
    """
    from workers.engines.t5_cache import T5Cache

    network = load(seq2seq_entry(make_t5_checkpoint(tmp_path, varied=False)), "cpu")._network
    draw = Random(0)
    stays = {"long": (0, 40), "first": (0, 120), "second": (50, 200), "third": (100, 210), "last": (150, 300)}
    sources = {name: tuple(draw.choices(range(3, 150), k=3 + 20 * at)) for at, name in enumerate(reversed(stays))}
    tokens = {name: draw.choices(range(3, 150), k=end - begin) for name, (begin, end) in stays.items()}

    def logits(names: Sequence[str]) -> dict[str, list[torch.Tensor]]:
        found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        running: list[str] = []
        with torch.inference_mode():
            cache = T5Cache(network.layers, network.heads, network.width, network.embedding)
            for step in range(min(stays[name][0] for name in names), max(stays[name][1] for name in names)):
                if ended := [at for at, name in enumerate(running) if stays[name][1] == step]:
                    cache.leave(ended)
                    for at in reversed(ended):
                        running[at] = running[-1]
                        running.pop()
                if joining := [name for name in names if stays[name][0] == step]:
                    cache.join(network.encode([sources[name] for name in joining]))
                    running += joining
                last = torch.tensor([tokens[name][step - stays[name][0]] for name in running])
                for name, row in zip(running, network.step(last, cache), strict=True):
                    found[name].append(row)
        return found

    together = logits(list(stays))
    for name in stays:
        torch.testing.assert_close(torch.stack(together[name]), torch.stack(logits([name])[name]), atol=1e-4, rtol=0)
