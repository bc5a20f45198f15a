"""Chemprop message-passing networks as plain weight matrices, all run over one batch of graphs.

Chemprop predicts with one network after another, each with its own pass over the data. The members of an ensemble
differ only in their weights, so the graphs are batched once here, and what the networks share (who sends messages to
whom) is built once as sparse matrices. Importing this file imports torch; only a worker that loads the model does so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from chemprop.models import load_model
from chemprop.models.utils import load_output_columns
from chemprop.nn import BinaryClassificationFFN, BondMessagePassing, NormAggregation, RegressionFFN
from torch import Tensor, nn

from schemas.errors import ModelUnavailable
from workers.engines.molecule_graph import MoleculeGraph

# torch says so once a process; the matrices here are only multiplied, which is settled and tested against chemprop.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")


class Wiring(NamedTuple):
    """A batch of graphs: features, and its sums as sparse matrices of ones.

    Shapes: atoms (A, atom features), bonds (2B, atom and bond features: a directed bond with its first atom),
    `into_bond` (2B, 2B) sums the messages that a directed bond receives, `into_atom` (A, 2B) those of an atom,
    `into_molecule` (M, A) the atoms of a molecule.
    """

    atoms: Tensor
    bonds: Tensor
    into_bond: Tensor
    into_atom: Tensor
    into_molecule: Tensor


@dataclass(frozen=True, slots=True)
class Member:
    """One network's weights, laid out for `x @ w`."""

    initial: Tensor
    hidden: Tensor
    atom: Tensor
    atom_bias: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    depth: int
    norm: float
    unscale: tuple[Tensor, Tensor] | None  # regression: mean and scale of what the network was trained on

    def __call__(self, wiring: Wiring) -> Tensor:
        """Predictions (M, endpoints): probabilities, or values in their units."""
        first = wiring.bonds @ self.initial
        messages = first.relu()
        for _ in range(1, self.depth):
            messages = torch.addmm(first, wiring.into_bond @ messages, self.hidden).relu_()
        atoms = torch.cat([wiring.atoms, wiring.into_atom @ messages], dim=1)
        atoms = torch.addmm(self.atom_bias, atoms, self.atom).relu_()
        state = (wiring.into_molecule @ atoms) / self.norm
        for number, (weight, bias) in enumerate(self.layers):
            state = torch.addmm(bias, state if number == 0 else state.relu(), weight)
        if self.unscale is None:
            return state.sigmoid()
        mean, scale = self.unscale
        return state * scale + mean


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Networks that were trained for the same endpoints."""

    endpoints: tuple[str, ...]
    probabilities: bool
    members: tuple[Member, ...]

    def __call__(self, wiring: Wiring) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the members, each (M, endpoints).

        The deviation divides by the number of members, as chemprop's own ensemble uncertainty does.
        """
        predicted = torch.stack([member(wiring) for member in self.members])
        return predicted.mean(dim=0), predicted.std(dim=0, correction=0)


def wire(graphs: Sequence[MoleculeGraph], device: str) -> Wiring:
    """Join graphs into one batch on the device. A molecule needs at least one atom, but no bond."""
    members = np.array([len(graph.atoms) for graph in graphs])
    shift = np.repeat(_offsets(members)[:-1], [len(graph.source) for graph in graphs])
    source = np.concatenate([graph.source for graph in graphs]) + shift
    target = np.concatenate([graph.target for graph in graphs]) + shift
    atom_features = torch.from_numpy(np.concatenate([graph.atoms for graph in graphs]))
    bond_features = torch.from_numpy(np.concatenate([graph.bonds for graph in graphs]))
    atoms, bonds = len(atom_features), len(source)
    arriving = np.argsort(target, kind="stable")  # directed bonds, grouped by the atom they lead to
    degree = np.bincount(target, minlength=atoms)
    start = _offsets(degree)
    # A directed bond u -> v hears all bonds that lead to u, but its own reverse.
    heard = degree[source]
    row = np.repeat(np.arange(bonds), heard)
    column = arriving[np.arange(heard.sum()) - np.repeat(_offsets(heard)[:-1] - start[source], heard)]
    column = column[column != row ^ 1]  # a bond's two directions are neighbours
    return Wiring(
        atoms=atom_features.to(device),
        bonds=torch.cat([atom_features[torch.from_numpy(source)], bond_features], dim=1).to(device),
        into_bond=_ones(_offsets(heard - 1), column, bonds, device),
        into_atom=_ones(start, arriving, bonds, device),
        into_molecule=_ones(_offsets(members), np.arange(atoms), atoms, device),
    )


def _offsets(counts: Any) -> Any:
    return np.concatenate([[0], np.cumsum(counts)])


def _ones(start: Any, column: Any, columns: int, device: str) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(start),
        torch.from_numpy(column),
        torch.ones(len(column)),
        size=(len(start) - 1, columns),
        device=device,
        check_invariants=False,
    )


def load_ensemble(files: Sequence[Path], device: str) -> Ensemble:
    """Read the networks of one ensemble.

    The files are unpickled, which runs whatever they say: call this only with files whose sha256 was compared.

    Raises:
        ModelUnavailable: a network is of an architecture that is not computed here.
    """
    models = [load_model(file) for file in files]
    for file, model in zip(files, models, strict=True):
        obstacle = _obstacle(model)
        if obstacle:
            raise ModelUnavailable(f"chemprop model {file.parent.name}/{file.name} has {obstacle}, not supported")
    return Ensemble(
        endpoints=tuple(load_output_columns(files[0])),
        probabilities=isinstance(models[0].predictor, BinaryClassificationFFN),
        members=tuple(_member(model, device) for model in models),
    )


def _obstacle(model: Any) -> str | None:
    """What of a chemprop model `Member` would compute wrongly."""
    passing = model.message_passing
    scaled = [part for part in passing.graph_transform.modules() if not list(part.children())]
    activations = [passing.tau, *(part for part in model.predictor.ffn.modules() if part.__class__ is not nn.Dropout)]
    known = (nn.ReLU, nn.Linear, nn.Sequential, type(model.predictor.ffn))
    checks = {
        "message passing other than over directed bonds": type(passing) is BondMessagePassing
        and not passing.undirected
        and passing.W_d is None
        and passing.W_i.bias is None,
        "extra features": all(
            isinstance(part, nn.Identity) for part in (*scaled, passing.V_d_transform, model.X_d_transform)
        ),
        "another aggregation than a scaled sum": type(model.agg) is NormAggregation,
        "batch normalization": isinstance(model.bn, nn.Identity),
        "another activation than ReLU": all(isinstance(part, known) for part in activations),
        "another predictor than classification or regression": type(model.predictor)
        in (BinaryClassificationFFN, RegressionFFN),
    }
    return next((name for name, fulfilled in checks.items() if not fulfilled), None)


def _member(model: Any, device: str) -> Member:
    def columns(linear: nn.Linear) -> Tensor:
        return linear.weight.detach().T.contiguous().to(device)

    passing = model.message_passing
    layers = [part for part in model.predictor.ffn.modules() if isinstance(part, nn.Linear)]
    unscale = None if isinstance(model.predictor, BinaryClassificationFFN) else model.predictor.output_transform
    return Member(
        initial=columns(passing.W_i),
        hidden=columns(passing.W_h),
        atom=columns(passing.W_o),
        atom_bias=passing.W_o.bias.detach().to(device),
        layers=tuple((columns(layer), layer.bias.detach().to(device)) for layer in layers),
        depth=passing.depth,
        norm=float(model.agg.norm),
        unscale=None if unscale is None else (unscale.mean.to(device), unscale.scale.to(device)),
    )
