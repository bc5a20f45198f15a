"""Fine-tuning on real papers: what was seen is learnt, and jobs read as training did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from schemas.errors import ModelUnavailable, NotFound, UsageError
from schemas.items import Item
from tests.seq2seq_checkpoint import make_bart_checkpoint, make_t5_of_papers
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.engines.pretrained import read_tokenizer
from workers.training.article import Articles, Example
from workers.training.base import Base, find_base, task_prefix
from workers.training.batches import IGNORED
from workers.training.paper_source import Pair, find_papers
from workers.training.product import Product
from workers.training.summarizer import Examples, loss_on, padding_collator, train
from workers.training.summarizer_card import SummarizerTraining
from workers.training.summarizer_recipe import SummarizerRecipe

STEPS = 150


def recipe(base: Base, **other: object) -> SummarizerRecipe:
    settings: dict[str, object] = {
        "data": "aclsum:train",
        "sha256": "",
        "target": "challenge",
        "base": base.name,
        "revision": base.revision,
        "limit": 5,
        "epochs": float(STEPS),
        "source_tokens": 128,
        "target_tokens": 64,
        "prefix": task_prefix(base),
        "batch": 4,
        "learning_rate": 5e-3,
        "weight_decay": 0.01,
        "precision": "fp32",
        "seed": 0,
    }
    return SummarizerRecipe(**settings | other)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return find_base(str(make_t5_of_papers(tmp_path_factory.mktemp("base") / "t5")), None)


@pytest.fixture(scope="module")
def trained(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Product, SummarizerTraining]:
    """Four papers seen 150 times, a fifth held out."""
    product = Product(tmp_path_factory.mktemp("run"), "ours")
    about = train(recipe(base), find_papers("aclsum:train", "challenge"), base, product, save_seconds=1e9)
    return product, about


def seen(base: Base, about: SummarizerTraining) -> list[Example]:
    articles = Articles(read_tokenizer(base.folder), prefix="summarize: ", reads=128, writes=64)
    rows = find_papers("aclsum:train", "challenge").rows(5)
    made = [articles.example(at, pair) for at, pair in enumerate(rows) if isinstance(pair, Pair)]
    return [one for one in made if isinstance(one, Example)]


def test_four_papers_are_learnt_by_heart_and_the_fifth_is_not(
    base: Base, trained: tuple[Product, SummarizerTraining]
) -> None:
    product, about = trained
    assert (about.rows, about.held_out, about.reached.step) == (4, 1, STEPS)
    collate = padding_collator(read_tokenizer(product.model))
    losses = [loss_on(product.model, [one], collate, "cpu") for one in seen(base, about)]
    before = [loss_on(base.folder, [one], collate, "cpu") for one in seen(base, about)]
    assert min(before) > 5
    assert sum(loss < 0.5 for loss in losses) == 4
    assert about.validation_loss == pytest.approx(max(losses), rel=1e-4)
    assert about.validation_loss is not None and about.validation_loss > 5


def test_a_job_reads_a_paper_token_for_token_as_training_did(base: Base, tmp_path: Path) -> None:
    """The tokenizer says 512, as T5's; trained to read 2,000, the engine reads 2,000."""
    product = Product(tmp_path, "far")
    source = find_papers("aclsum:train", "challenge")
    far = recipe(base, limit=3, epochs=1.0, source_tokens=2000, prefix="condense: ")
    entry = train(far, source, base, product, save_seconds=1e9).entry(product)
    tokenizer = read_tokenizer(product.model)
    work = load_engine(entry, "cpu").cpu
    articles = Articles(read_tokenizer(base.folder), prefix="condense: ", reads=2000, writes=64)
    opening = tokenizer.backend_tokenizer.encode("condense:").ids[:-1]
    whole = 0
    for row, pair in enumerate(source.rows()):
        assert isinstance(pair, Pair)
        (unit,) = work.prepare(Item(row, pair.paper), entry.parameters)
        made = articles.example(row, pair)
        assert isinstance(unit, Prepared)
        if isinstance(made, Example):
            windows = [list(window) for window in unit.data.windows]
            assert made.source.tolist()[: len(opening)] == windows[0][: len(opening)] == opening
            assert len(windows) > 1 or windows[0] == made.source.tolist()
            whole += len(windows) == 1 and len(windows[0]) > 512
    assert whole > 30


def test_the_card_says_what_the_model_was_made_of_and_how_good_it_is(
    trained: tuple[Product, SummarizerTraining],
) -> None:
    product, about = trained
    card = json.loads((product.folder / "card.json").read_text())
    assert card["measured"]["papers"] == 1
    assert set(card["measured"]["model"]) == set(card["measured"]["lead-3"])
    assert card["measured"]["lead-3"]["ROUGE-1"] > 0
    assert card["training"]["train_loss"] < 1
    assert "MIT" in card["data"]["licence"]
    assert about.recipe.command("ours") == card["command"]
    text = (product.folder / "README.md").read_text()
    assert "| lead-3 |" in text
    assert f"`{card['command']}`" in text


def test_padding_is_no_label_and_batches_are_as_wide_as_their_longest(base: Base) -> None:
    examples = Examples(
        [
            Example(0, torch.tensor([5, 6, 1]).numpy(), torch.tensor([7, 1]).numpy()),
            Example(1, torch.tensor([5, 1]).numpy(), torch.tensor([7, 8, 9, 1]).numpy()),
        ]
    )
    batch = padding_collator(read_tokenizer(base.folder))([examples[0], examples[1]])
    assert batch["input_ids"].tolist() == [[5, 6, 1], [5, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[7, 1, IGNORED, IGNORED], [7, 8, 9, 1]]


def test_only_t5_and_its_kin_are_told_the_task(base: Base, tmp_path: Path) -> None:
    assert task_prefix(base) == "summarize: "
    assert task_prefix(find_base(str(make_bart_checkpoint(tmp_path)), None)) == ""


def test_a_bart_learns_too_and_is_not_asked_for_more_than_it_has_positions_for(tmp_path: Path) -> None:
    bart = find_base(str(make_bart_checkpoint(tmp_path / "bart")), None)
    source = find_papers("aclsum:train", "challenge")
    product = Product(tmp_path, "ours")
    asked = {"limit": 3, "epochs": 2.0, "target_tokens": 200}
    about = train(recipe(bart, **asked), source, bart, product, save_seconds=1e9)
    assert about.reached.step == 2
    load_engine(about.entry(product), "cpu")
    with pytest.raises(UsageError, match=r"--source-tokens 300: .* reads 256 at most"):
        train(recipe(bart, source_tokens=300), source, bart, product, save_seconds=1e9)
    with pytest.raises(UsageError, match=r"--target-tokens 256: .* writes 255 at most"):
        train(recipe(bart, target_tokens=256), source, bart, product, save_seconds=1e9)


def test_a_base_is_known_by_its_files(base: Base, tmp_path: Path) -> None:
    other = find_base(str(make_t5_of_papers(tmp_path / "t5", size=600)), None)
    assert len(base.revision) == len(other.revision) == 16
    assert base.revision != other.revision


def test_what_is_no_base_is_refused_in_one_line(base: Base, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no folder \./none/of/them"):
        find_base("./none/of/them", None)
    with pytest.raises(UsageError, match="--revision is for a hub's repository"):
        find_base(str(base.folder), "main")
    with pytest.raises(ModelUnavailable, match="no safetensors"):
        find_base(str(tmp_path), None)
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        task_prefix(Base("none", "", tmp_path))
