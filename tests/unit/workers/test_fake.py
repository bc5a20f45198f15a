from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from schemas.errors import ModelUnavailable, RowError, UsageError
from schemas.items import Item, Molecule, Paper, Prompt, Section
from schemas.outcomes import Failed
from schemas.registry import load_registry
from workers.engines.fake import CRASH_STATUS, MOLECULES
from workers.engines.load import load_engine

REGISTRY = load_registry()


def engine(name: str):
    return load_engine(REGISTRY.get(name), "cpu")


def test_a_prediction_is_a_checksum_of_the_text_that_32_bits_hold_exactly():
    fake = engine("fake-predict")
    (unit,) = fake.cpu.prepare(Item(7, Molecule("CCO")), {})
    (made,) = fake.run([unit])
    assert (unit.tokens, made.row, made.standardized, made.inchikey) == (3, 7, "CCO", "")
    (value,) = made.values
    assert 0 <= value < 1
    assert float(np.float32(value)) == value
    others = [fake.run(fake.cpu.prepare(Item(0, Molecule("C" * n)), {}))[0].values[0] for n in range(1, 50)]
    assert len(set(others)) == 49


def test_a_summary_is_the_first_sentence_and_where_it_stood():
    fake = engine("fake-summarize")
    paper = Paper("T", (Section("Empty", ()), Section("Body", ("Water is wet. It is. So there!",))))
    (made,) = fake.run(fake.cpu.prepare(Item(1, paper), {}))
    assert made.text == made.sentences[0].text == "Water is wet."
    assert (made.sentences[0].section, made.sentences[0].sentence) == (1, 0)
    assert made.coverage == pytest.approx(1 / 3)


def test_samples_depend_on_seed_row_and_sample_alone():
    fake = engine("fake-generate")
    asked = {"samples": 40, "seed": 1}
    units = fake.cpu.prepare(Item(3, Prompt()), asked)
    made = fake.run(units)
    assert [(out.row, out.sample) for out in made] == [(3, sample) for sample in range(40)]
    assert [fake.run([unit])[0] for unit in units] == list(made)
    assert {out.smiles for out in made} == set(MOLECULES)
    assert len({out.seed for out in made}) == 40
    other = fake.run(fake.cpu.prepare(Item(3, Prompt()), asked | {"seed": 2}))
    assert [out.seed for out in other] != [out.seed for out in made]


def test_a_micro_batch_costs_what_it_takes_padded():
    fake = engine("fake-predict")
    rows = [
        fake.cpu.prepare(Item(row, Molecule("C" * n)), {"ns_per_token": 1e6})[0] for row, n in enumerate([1, 1, 20])
    ]
    begun = time.perf_counter()
    fake.run(rows)
    assert 0.06 <= time.perf_counter() - begun < 0.5


def test_poison_raises_only_where_it_is():
    fake = engine("fake-predict")
    good, bad = (fake.cpu.prepare(Item(0, Molecule(text)), {"poison": "N"})[0] for text in "CN")
    assert len(fake.run([good])) == 1
    with pytest.raises(RuntimeError, match="poison: N"):
        fake.run([good, bad])


@pytest.mark.parametrize(("hang", "hangs"), [(None, True), ("N", True), ("O", False)])
def test_a_hang_lasts_as_long_as_asked_on_the_text_that_was_named(hang, hangs):
    fake = engine("fake-predict")
    rows = fake.cpu.prepare(Item(0, Molecule("N")), {"hang_seconds": 0.1, "hang": hang})
    begun = time.perf_counter()
    fake.run(rows)
    assert (time.perf_counter() - begun >= 0.1) is hangs


def test_a_crash_ends_the_process():
    script = (
        "from schemas.items import Item, Molecule; from schemas.registry import load_registry\n"
        "from workers.engines.load import load_engine\n"
        "fake = load_engine(load_registry().get('fake-predict'), 'cpu')\n"
        "rows = fake.cpu.prepare(Item(0, Molecule('N')), {'crash': 'N'})\n"
        "print('ready', flush=True); fake.run(rows); print('alive', flush=True)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (CRASH_STATUS, "ready\n")


def test_a_row_beyond_the_models_limit_is_too_long():
    fake = engine("fake-predict")
    (failed,) = fake.cpu.prepare(Item(0, Molecule("C" * 4097)), {})
    assert isinstance(failed, Failed)
    assert failed.code is RowError.TOO_LONG


@pytest.mark.parametrize("asked", [{"posion": "N"}, {"samples": 0}, {"ns_per_token": "fast"}], ids=str)
def test_a_parameter_that_cannot_be_meant_is_refused(asked):
    with pytest.raises(UsageError, match=next(iter(asked))):
        engine("fake-predict").cpu.prepare(Item(0, Molecule("C")), asked)


def test_loading_the_fake_imports_no_heavy_library():
    script = (
        "import sys; from schemas.registry import load_registry; from workers.engines.load import load_engine\n"
        "load_engine(load_registry().get('fake-predict'), 'cpu')\n"
        "print([name for name in ('torch', 'rdkit', 'transformers', 'celery') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "[]\n"


def test_an_engine_is_loaded_in_a_thread_that_ends(monkeypatch):
    """What torch has started to help the thread would slow down the model thread for ever."""
    seen = []
    monkeypatch.setattr("workers.engines.fake.load", lambda *_: seen.append(threading.current_thread()))
    engine("fake-predict")
    (thread,) = seen
    assert not thread.is_alive()


def test_a_missing_library_is_a_model_that_is_unavailable(monkeypatch):
    monkeypatch.setitem(sys.modules, "workers.engines.fake", None)
    with pytest.raises(ModelUnavailable, match="fake-predict"):
        engine("fake-predict")
