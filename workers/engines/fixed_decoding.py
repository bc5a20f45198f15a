"""Fixed batches through `generate`: any encoder-decoder, greedy, drawn or with beams, sorted by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from workers.engines.next_token import Stream, choose
from workers.engines.padding import pad, passes

if TYPE_CHECKING:
    from torch import Tensor

# Padded source tokens of one batch.
BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}


class FixedDecoding:
    """`generate` of one model. What it does not take from a job it takes from the checkpoint's generation settings."""

    def __init__(self, model: Any, filler: int, ends: frozenset[int], *, exact: bool) -> None:
        """`filler` is the padding token; `exact` as for `T5Decoding`."""
        self._model = model
        self._filler = filler
        self._ends = ends
        self._exact = exact
        self._device = str(model.device)
        self._batch_tokens = BATCH_TOKENS["cpu" if self._device == "cpu" else "cuda"]

    def decode(self, streams: Sequence[Stream]) -> None:
        """Write all streams to their ends; those that could have been swayed by their company once more, alone."""
        for asked, alike in groupby(sorted(streams, key=_asked), key=_asked):
            ordered = sorted(alike, key=lambda stream: len(stream.source))
            begin = 0
            for part in passes([stream.source for stream in ordered], self._batch_tokens // asked[0]):
                batch = ordered[begin : begin + len(part)]
                begin += len(part)
                self._generate(batch)
                for stream in batch:
                    if stream.wavering and self._exact and len(batch) > 1:
                        self.alone(stream)

    def alone(self, stream: Stream) -> None:
        """Write one stream from its beginning, without others."""
        self._generate([stream])

    def _generate(self, batch: Sequence[Stream]) -> None:
        import torch
        from transformers import LogitsProcessorList

        for stream in batch:
            stream.tokens, stream.wavering = [], False
        asked = batch[0].asked
        ids, mask = pad([stream.source for stream in batch], self._filler, self._device)
        processors: list[Any] = [] if asked.num_beams > 1 else [_chooser(batch, self._ends)]
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=asked.max_new_tokens,
                min_new_tokens=asked.min_new_tokens or None,
                num_beams=asked.num_beams,
                do_sample=False,
                logits_processor=LogitsProcessorList(processors),
            )
        for stream, tokens in zip(batch, written[:, 1:].tolist(), strict=True):
            ended = next((at + 1 for at, token in enumerate(tokens) if token in self._ends), len(tokens))
            stream.tokens = tokens[:ended]


def _asked(stream: Stream) -> tuple[int, int, int]:
    """What all streams of a batch must have in common."""
    return stream.asked.num_beams, stream.asked.max_new_tokens, stream.asked.min_new_tokens


def _chooser(batch: Sequence[Stream], ends: frozenset[int]) -> Callable[[Tensor, Tensor], Tensor]:
    """A logits processor that draws where tokens are drawn, and marks the streams that waver."""

    def process(written: Tensor, scores: Tensor) -> Tensor:
        import torch

        tokens, wavering = choose(scores, batch)
        drawn = [at for at, stream in enumerate(batch) if stream.asked.temperature > 0]
        if drawn:
            scores = scores.clone()
            scores[drawn] = -torch.inf
            scores[drawn, tokens[drawn]] = 0.0
        for stream, token, wavers in zip(batch, tokens.tolist(), wavering.tolist(), strict=True):
            if not stream.ended(ends):
                stream.tokens.append(token)
                stream.wavering |= wavers
        return scores

    return process
