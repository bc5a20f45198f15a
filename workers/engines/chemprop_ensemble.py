"""Chemprop message-passing networks as plain weight matrices, all run over one batch of graphs.

Chemprop predicts with one network after another, each with its own pass over the data. The members of an ensemble
differ only in their weights, so the graphs are batched once here, and what the networks share (which environments
there are, and who sends messages to whom) is found once. Importing this file imports torch; only a worker that loads
the model does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from chemprop.models import load_model
from chemprop.models.utils import load_output_columns
from chemprop.nn import BinaryClassificationFFN, BondMessagePassing, NormAggregation, RegressionFFN
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from schemas.errors import ModelUnavailable
from workers.engines.environments import Sums, join
from workers.engines.molecule_graph import MoleculeGraph


class Gather(NamedTuple):
    """`Sums` on the device: calling it sums rows of a table (rows, width) into others (sums, width)."""

    rows: Tensor
    start: Tensor

    def __call__(self, table: Tensor) -> Tensor:
        """A sum over nothing is zero."""
        if len(table) == 0:  # no molecule has a bond; torch wants a row even then
            return table.new_zeros(len(self.start), table.shape[1])
        return embedding_bag(self.rows, table, self.start, mode="sum")


class Wiring(NamedTuple):
    """A batch of graphs on the device; see `workers.engines.environments.Environments` for its parts."""

    bonds: Tensor
    rounds: tuple[Gather, ...]
    atoms: Tensor
    atom: Tensor
    into_atom: Gather
    into_molecule: Gather


@dataclass(frozen=True, slots=True)
class Member:
    """One network's weights, laid out for `x @ w`.

    The messages have the precision of `initial`, `hidden` and `incoming`. All that follows is computed in fp32.
    """

    initial: Tensor
    hidden: Tensor
    atom: Tensor  # for an atom's own features
    incoming: Tensor  # for the messages that it receives
    atom_bias: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    norm: float
    unscale: tuple[Tensor, Tensor] | None  # regression: mean and scale of what the network was trained on

    def __call__(self, wiring: Wiring) -> Tensor:
        """Predictions (M, endpoints): probabilities, or values in their units."""
        first = wiring.bonds.to(self.initial.dtype) @ self.initial
        messages = first.relu()
        for receive in wiring.rounds:
            # W sum(m) = sum(W m), and there are fewer distinct messages than sums of them
            messages = receive(torch.cat([first, messages @ self.hidden])).relu_()
        own = torch.addmm(self.atom_bias, wiring.atoms, self.atom)
        atoms = (own[wiring.atom] + wiring.into_atom(messages) @ self.incoming).relu_()
        state = wiring.into_molecule(atoms) / self.norm
        for number, (weight, bias) in enumerate(self.layers):
            state = torch.addmm(bias, state if number == 0 else state.relu(), weight)
        if self.unscale is None:
            return state.sigmoid()
        mean, scale = self.unscale
        return state * scale + mean


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Networks that were trained for the same endpoints, all with so many rounds of message passing."""

    endpoints: tuple[str, ...]
    probabilities: bool
    rounds: int
    members: tuple[Member, ...]

    def __call__(self, wiring: Wiring) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the members, each (M, endpoints).

        The deviation divides by the number of members, as chemprop's own ensemble uncertainty does.
        """
        predicted = torch.stack([member(wiring) for member in self.members])
        return predicted.mean(dim=0), predicted.std(dim=0, correction=0)


def wire(graphs: Sequence[MoleculeGraph], rounds: int, device: str) -> Wiring:
    """Join graphs into one batch on the device. A molecule needs at least one atom, but no bond."""

    def gather(sums: Sums) -> Gather:
        return Gather(*(torch.from_numpy(part).to(device) for part in sums))

    found = join(graphs, rounds)
    return Wiring(
        bonds=torch.from_numpy(found.bonds).to(device),
        rounds=tuple(gather(sums) for sums in found.rounds),
        atoms=torch.from_numpy(found.atoms).to(device),
        atom=torch.from_numpy(found.atom).to(device),
        into_atom=gather(found.into_atom),
        into_molecule=gather(found.into_molecule),
    )


def load_ensemble(files: Sequence[Path], device: str, precision: torch.dtype) -> Ensemble:
    """Read the networks of one ensemble; `precision` is that of the messages.

    The files are unpickled, which runs whatever they say: call this only with files whose sha256 was compared.

    Raises:
        ModelUnavailable: a network is of an architecture that is not computed here.
    """
    models = [load_model(file) for file in files]
    for file, model in zip(files, models, strict=True):
        obstacle = _obstacle(model)
        if obstacle:
            raise ModelUnavailable(f"chemprop model {file.parent.name}/{file.name} has {obstacle}, not supported")
    depths = {model.message_passing.depth for model in models}
    if len(depths) > 1:
        raise ModelUnavailable(f"the networks of {files[0].parent.name} differ in depth ({depths}), not supported")
    return Ensemble(
        endpoints=tuple(load_output_columns(files[0])),
        probabilities=isinstance(models[0].predictor, BinaryClassificationFFN),
        rounds=depths.pop() - 1,
        members=tuple(_member(model, device, precision) for model in models),
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


def _member(model: Any, device: str, precision: torch.dtype) -> Member:
    def columns(weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return weight.detach().T.contiguous().to(device, dtype)

    passing = model.message_passing
    own = passing.W_o.in_features - passing.W_o.out_features  # an atom's features come before its messages
    layers = [part for part in model.predictor.ffn.modules() if isinstance(part, nn.Linear)]
    unscale = None if isinstance(model.predictor, BinaryClassificationFFN) else model.predictor.output_transform
    return Member(
        initial=columns(passing.W_i.weight, precision),
        hidden=columns(passing.W_h.weight, precision),
        atom=columns(passing.W_o.weight[:, :own]),
        incoming=columns(passing.W_o.weight[:, own:], precision),
        atom_bias=passing.W_o.bias.detach().to(device),
        layers=tuple((columns(layer.weight), layer.bias.detach().to(device)) for layer in layers),
        norm=float(model.agg.norm),
        unscale=None if unscale is None else (unscale.mean.to(device), unscale.scale.to(device)),
    )
