"""The extractive summarizer against the abstracts of the 100 ACLSum test papers (Takeshita et al., 2024)."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from schemas.items import Item, Paper, Section
from schemas.outcomes import Summary
from schemas.registry import load_registry
from schemas.rouge import lead
from schemas.sentences import split
from workers.engines.contract import Prepared
from workers.engines.extractive import load

MEASURES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def _papers() -> list[tuple[Paper, str]]:
    """Introduction and conclusion as input, the abstract as reference. The package's code is never imported."""
    try:
        package = metadata.distribution("aclsum")
    except metadata.PackageNotFoundError:
        pytest.skip("aclsum is not installed; run: pip install --no-deps aclsum==0.1.2")
    rows = Path(str(package.locate_file("aclsum/dataset/test.jsonl"))).read_text("utf-8").splitlines()
    found = []
    for row in map(json.loads, rows):
        said = {name: " ".join(row["sentences"][name]) for name in ("abstract", "introduction", "conclusion")}
        sections = tuple(Section(name.capitalize(), (said[name],)) for name in ("introduction", "conclusion"))
        found.append((Paper(row["title"], sections), said["abstract"]))
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_extracted_summaries_reach_the_bar_and_beat_the_lead(capsys: pytest.CaptureFixture[str]) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(MEASURES, use_stemmer=True)
    engine = load(load_registry().get("minilm-extractive"), "cpu")
    papers = _papers()
    assert len(papers) == 100
    units: list[Prepared] = []
    for row, (paper, _) in enumerate(papers):
        (unit,) = engine.cpu.prepare(Item(row, paper), {"sentences": 3})
        assert isinstance(unit, Prepared)
        units.append(unit)
    summaries: list[Summary] = []
    for at in range(0, len(units), 10):
        summaries.extend(engine.run(units[at : at + 10]))

    texts = {
        "lead-3": ["\n".join(lead(paper)) for paper, _ in papers],
        "minilm-extractive": ["\n".join(sentence.text for sentence in summary.sentences) for summary in summaries],
    }
    table = {}
    for name, summarized in texts.items():
        scores = [
            scorer.score("\n".join(split(abstract)), text)
            for (_, abstract), text in zip(papers, summarized, strict=True)
        ]
        table[name] = {measure: sum(score[measure].fmeasure for score in scores) / len(scores) for measure in MEASURES}
    with capsys.disabled():
        print("\nF1 (rouge-score, stemmed), 100 ACLSum papers, 3 sentences:", *MEASURES)
        for name, values in table.items():
            print(f"{name:20}", "  ".join(f"{values[measure]:.3f}" for measure in MEASURES))
    assert table["minilm-extractive"]["rouge1"] >= 0.40
    assert all(table["minilm-extractive"][measure] > table["lead-3"][measure] for measure in MEASURES)
