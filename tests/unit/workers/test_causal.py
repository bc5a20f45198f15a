from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ModelUnavailable, RowError, UsageError
from schemas.items import Item, Molecule, Prompt, Rejected, Task
from schemas.outcomes import Failed, Generation
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from tests.checkpoints import make_smiles_checkpoint
from workers.engines.causal import CausalEngine, load
from workers.engines.causal_decoding import CausalDecoding
from workers.engines.contract import Prepared
from workers.sampling import row_seed

LIMITS = Limits(batch_rows=64, batch_size=10_000, token_budget=8192, max_rows=256, max_tokens=512)


def entry(folder: Path) -> ModelEntry:
    return ModelEntry(
        name="tiny", task=Task.GENERATE, engine=EngineKind.CAUSAL, weights=Weights(path=folder), limits=LIMITS
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_smiles_checkpoint(tmp_path_factory.mktemp("smiles"))


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> CausalEngine:
    return load(entry(checkpoint), "cpu")


def prepared(engine: CausalEngine, smiles: str = "", row: int = 0, **parameters: object) -> list[Prepared]:
    units = engine.cpu.prepare(Item(row, Prompt(smiles)), {"max_new_tokens": 48, **parameters})
    assert all(isinstance(unit, Prepared) for unit in units)
    return list(units)  # type: ignore[arg-type]


def finished(engine: CausalEngine, units: Sequence[Prepared]) -> list[Generation]:
    """What the device computes, and what is found out of it afterwards."""
    return [engine.cpu.finish(outcome) for outcome in engine.run(units)]  # type: ignore[misc]


def sampled(engine: CausalEngine, units: Sequence[Prepared]) -> list[tuple[Prepared, list[int], float]]:
    """Each unit with the tokens drawn for it and their negative log-likelihood."""
    found: list[tuple[Prepared, list[int], float]] = []

    def finish(unit: Prepared, tokens: list[int], nll: float) -> Generation:
        found.append((unit, tokens, nll))
        return engine._outcome(unit, tokens, nll)

    decoding = CausalDecoding(engine._forward, engine._is_end, "cpu", finish)
    decoding.admit(units)
    while len(found) < len(units):
        decoding.step()
    return found


@pytest.fixture(scope="module")
def mixed(engine: CausalEngine) -> list[Prepared]:
    """Units of unlike prompts, lengths and parameters, as one micro-batch may hold them."""
    return [
        *prepared(engine, row=0, samples=8),
        *prepared(engine, "CC(=O)O", row=1, samples=6, temperature=0.7),
        *prepared(engine, "ClCN", row=2, samples=6, top_k=5),
        *prepared(engine, "c1n[nH]", row=3, samples=6, top_p=0.8, max_new_tokens=20),
    ]


@pytest.fixture(scope="module")
def generated(engine: CausalEngine, mixed: list[Prepared]) -> dict[tuple[int, int], Generation]:
    return {(one.row, one.sample): one for one in finished(engine, mixed)}


def assert_same(found: Generation, expected: Generation) -> None:
    assert (found.smiles, found.tokens, found.seed, found.valid) == (
        expected.smiles,
        expected.tokens,
        expected.seed,
        expected.valid,
    )
    assert found.nll == pytest.approx(expected.nll, abs=1e-3)


def test_samples_of_one_prompt_differ_and_end_after_different_lengths(engine: CausalEngine) -> None:
    outcomes = finished(engine, prepared(engine, samples=100))
    assert len({one.smiles for one in outcomes}) >= 90
    assert len({one.tokens for one in outcomes}) >= 10
    assert [one.sample for one in outcomes] == list(range(100))
    assert len({one.seed for one in outcomes}) == 100
    assert 0 < sum(one.valid for one in outcomes) < 100


@pytest.mark.parametrize("size", [1, 5, 26])
def test_a_molecule_does_not_depend_on_what_shares_its_batch(
    engine: CausalEngine, mixed: list[Prepared], generated: dict[tuple[int, int], Generation], size: int
) -> None:
    shuffled = Random(size).sample(mixed, len(mixed))
    for at in range(0, len(shuffled), size):
        units = shuffled[at : at + size]
        outcomes = finished(engine, units)
        assert [(one.row, one.sample) for one in outcomes] == [(unit.row, unit.sample) for unit in units]
        for one in outcomes:
            assert_same(one, generated[one.row, one.sample])


def test_a_draw_on_the_edge_is_made_as_if_alone(
    engine: CausalEngine, mixed: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sampling.NOISE", 1e9)  # so that every draw is on the edge
    units = mixed[:4]
    assert list(engine.run(units)) == [engine.run([unit])[0] for unit in units]  # to the last bit


def test_a_second_load_gives_the_same_molecules(
    checkpoint: Path, mixed: list[Prepared], generated: dict[tuple[int, int], Generation]
) -> None:
    for one in finished(load(entry(checkpoint), "cpu"), mixed):
        assert_same(one, generated[one.row, one.sample])


def test_the_job_seed_and_the_row_change_the_molecules(engine: CausalEngine) -> None:
    texts = [
        {one.smiles for one in engine.run(prepared(engine, row=row, samples=8, seed=seed))}
        for row, seed in ((0, 0), (0, 1), (1, 0))
    ]
    assert all(len(texts[one] & texts[other]) <= 2 for one, other in ((0, 1), (0, 2), (1, 2)))
    assert prepared(engine, row=4, samples=3, seed=9)[2].data.seed == row_seed(9, 4, 2)


def test_the_nll_is_that_of_a_teacher_forced_pass(
    engine: CausalEngine, mixed: list[Prepared], checkpoint: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    for unit, tokens, nll in sampled(engine, mixed):
        ids = torch.tensor([[*unit.data.ids, *tokens]])
        with torch.inference_mode():
            likelihood = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
        begin = len(unit.data.ids)
        expected = -sum(likelihood[at - 1, ids[0, at]].item() for at in range(begin, ids.shape[1]))
        assert nll == pytest.approx(expected, abs=1e-3)
        assert len(tokens) == unit.data.steps or tokens[-1] == 2
        assert 2 not in tokens[:-1]


def test_the_nll_is_the_unshaped_models_whatever_the_temperature(engine: CausalEngine) -> None:
    cold = engine.run(prepared(engine, samples=20, temperature=0.2))
    hot = engine.run(prepared(engine, samples=20, temperature=3.0))
    assert sum(one.nll / one.tokens for one in cold) < sum(one.nll / one.tokens for one in hot)


def test_a_sample_continues_its_prompt(generated: dict[tuple[int, int], Generation]) -> None:
    for (row, _), one in generated.items():
        assert one.smiles.startswith(("", "CC(=O)O", "ClCN", "c1n[nH]")[row])


def test_a_sample_is_cut_where_the_job_says_and_judged_as_it_is(engine: CausalEngine) -> None:
    outcomes = finished(engine, prepared(engine, "CC", samples=30, max_new_tokens=2))
    assert max(one.tokens for one in outcomes) == 2
    assert any(one.valid and one.tokens == 2 for one in outcomes)


def test_valid_molecules_are_annotated_and_others_are_not(engine: CausalEngine) -> None:
    outcomes = finished(engine, prepared(engine, "CC", samples=60, max_new_tokens=8))
    assert {one.valid for one in outcomes} == {True, False}
    for one in outcomes:
        values = (one.canonical, one.inchikey, one.qed, one.sa, one.logp, one.mw, one.tpsa, one.scaffold)
        assert all(value is not None for value in values) if one.valid else values == (None,) * 8


def test_a_sample_with_a_special_token_inside_is_no_molecule(engine: CausalEngine) -> None:
    (unit,) = prepared(engine, "CC")
    carbon = unit.data.ids[-1]
    assert engine._outcome(unit, [carbon, 2], 0.0).smiles == "CCC"
    odd = engine._outcome(unit, [carbon, 3, carbon, 2], 0.0)
    assert not odd.valid and odd.smiles == "CCC[UNK]C"


def test_units_count_the_prompt_and_all_that_may_be_added(engine: CausalEngine) -> None:
    assert [unit.tokens for unit in prepared(engine, "ClCN", samples=2, max_new_tokens=10)] == [1 + 3 + 10] * 2
    assert prepared(engine, "ClCN", max_new_tokens=1000)[0].tokens == 160  # the model's context


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (Prompt("[Xe]CC"), RowError.UNSUPPORTED),
        (Prompt("CC%C"), RowError.UNSUPPORTED),
        (Prompt("[EOS]"), RowError.UNSUPPORTED),
        (Prompt("C" * 200), RowError.TOO_LONG),
        (Rejected(RowError.NUL_BYTE, "byte 3"), RowError.NUL_BYTE),
        (Molecule("CC"), RowError.UNSUPPORTED),
    ],
)
def test_a_prompt_that_cannot_be_continued_fails_with_its_reason(
    engine: CausalEngine, content: Prompt | Rejected | Molecule, code: RowError
) -> None:
    (failed,) = engine.cpu.prepare(Item(7, content), {})
    assert isinstance(failed, Failed) and (failed.row, failed.code) == (7, code)


@pytest.mark.parametrize("parameters", [{"samples": 0}, {"temperature": 0}, {"top_p": 1.5}, {"seed": -1}, {"beams": 2}])
def test_a_parameter_that_cannot_be_meant_is_refused(engine: CausalEngine, parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"parameter '{next(iter(parameters))}'"):
        engine.cpu.prepare(Item(0, Prompt()), parameters)


def assert_refused(folder: Path, reason: str) -> None:
    with pytest.raises(ModelUnavailable, match=reason) as refused:
        load(entry(folder), "cpu")
    assert "\n" not in str(refused.value)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    assert (make_smiles_checkpoint(tmp_path, safe=False) / "pytorch_model.bin").exists()
    assert_refused(tmp_path, "no safetensors")


def test_a_missing_folder_is_told_in_one_line(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", "nowhere")


def test_a_folder_that_is_no_checkpoint_is_told_in_one_line(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert_refused(tmp_path, "cannot be read as a model")


def test_weights_that_would_be_drawn_at_random_are_refused(tmp_path: Path) -> None:
    file = make_smiles_checkpoint(tmp_path) / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    assert_refused(tmp_path, "up_proj")


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    for file in make_smiles_checkpoint(tmp_path).glob("tokenizer*"):
        file.unlink()
    assert_refused(tmp_path, "tokenizer")


def test_half_precision_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="fp32"):
        load(entry(checkpoint).model_copy(update={"precision": "bf16"}), "cpu")
