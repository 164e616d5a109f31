"""The PyTorch side of `bench`: transformers' LLaVA with the same weights on the same records.

It computes as a good training script would: SDPA attention, a fused AdamW with the same recipe
(learning rates by parameter, schedule, clipping), frozen parts without gradients, batches padded
to their longest row.  Besides LLaVA's one row per question it also gets our rows, with a mask and
positions, which transformers accepts but has no recipe for: the fairest equivalent.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nota_jax.bench.records import Arrays, Asked
from nota_jax.bench.sides import Side, work_of
from nota_jax.errors import UserError
from nota_jax.models.attention import turn_mask
from nota_jax.params import flatten
from nota_jax.pixels import normalize
from nota_jax.training import program
from nota_jax.training.optimizer import schedule

try:
    import torch
    import transformers

    from conversion import hf_config, names
except ImportError as error:
    raise UserError(
        f"--peer=hf needs PyTorch and transformers ({error}): pip install 'nota_jax[convert]'"
    ) from None

LAYOUT = "transformers-5"  # names in memory
IGNORED = -100  # transformers' label of positions that are not supervised


@dataclass(frozen=True)
class Peer:
    """phase and params: ours; compiled: also try torch.compile."""

    phase: program.Program
    params: Any
    compiled: bool

    def __post_init__(self):
        kind = self.phase.model.config.connector.kind
        if kind != "mlp2":
            raise UserError(f"transformers' LLaVA has no connector {kind!r}: --peer=hf needs mlp2")

    @property
    def device(self) -> str:
        return "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"

    @property
    def autocast(self) -> bool:
        """Whether products have bf16 operands: ours have, by their own or the compute dtype."""
        ours = self.phase.model.config
        return "bfloat16" in (ours.dtype, ours.operands)

    def model(self) -> torch.nn.Module:
        """transformers' LLaVA with our weights; fp32, as the optimizer keeps them."""
        ours = self.phase.model.config
        values = hf_config.to_hf(ours, "float32", {})
        config = transformers.LlavaConfig(
            **{k: v for k, v in values.items() if k not in ("architectures", "model_type")}
        )
        # Else every model of transformers looks for a token of Mistral's tokenizer in ours.
        config.text_config.eos_token_id = config.text_config.bos_token_id = None
        config._attn_implementation = "sdpa"
        with _quiet():
            model = transformers.LlavaForConditionalGeneration(config)
        tensors = names.to_tensors(jax.tree.map(np.asarray, self.params), LAYOUT)
        state = {name: torch.tensor(np.asarray(x, np.float32)) for name, x in tensors.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        tied = {"lm_head.weight"} if ours.text.tie_word_embeddings else set()
        if unexpected or set(missing) - tied:
            raise UserError(
                f"transformers {transformers.__version__} names its tensors otherwise: "
                f"{', '.join([*unexpected, *missing][:4])}; --peer=hf knows transformers 5"
            )
        return model.to(self.device)


def training_sides(
    peer: Peer, shared: Sequence[Arrays], singles: Sequence[Arrays], say: Callable[[str], None]
) -> list[Side]:
    """One row per question, and our rows; each also with torch.compile where asked and able."""
    sides = [
        _training_side("hf: one row per question", peer, singles, peer.model(), False),
        _training_side("hf: shared rows", peer, shared, peer.model(), False),
    ]
    if peer.compiled:
        for name, batches in (("one row per question", singles), ("shared rows", shared)):
            side = _training_side(f"hf: {name}, torch.compile", peer, batches, peer.model(), True)
            trial = _training_side(side.name, peer, batches, peer.model(), True)
            try:
                trial.run(0)
            except Exception as error:  # whatever Inductor and its C++ compiler raise
                say(f"torch.compile does not work here: {str(error).splitlines()[0][:200]}")
                break
            sides.append(side)
    return sides


def _training_side(
    name: str, peer: Peer, batches: Sequence[Arrays], model: torch.nn.Module, compiled: bool
) -> Side:
    phase, device = peer.phase, peer.device
    optimizer = _optimizer(phase, model)
    total = phase.config.total_steps
    rates = np.asarray(schedule(phase.config.optimizer, total)(np.arange(total))).tolist()
    # One shape for torch.compile, which would compile anew for each.
    longest = max(int((batch["turn_ids"] >= 0).sum(1).max()) for batch in batches)
    inputs = [_inputs(batch, longest if compiled else None, device) for batch in batches]
    forward = torch.compile(model) if compiled else model
    model.train()
    clip = phase.config.optimizer.clip_norm
    trained = [p for p in model.parameters() if p.requires_grad]

    def train(i: int) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rates[i] * group["multiplier"]
        with torch.autocast(device, torch.bfloat16, enabled=peer.autocast):
            loss = forward(**inputs[i % len(inputs)]).loss
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        return float(loss.detach())

    padded = [{**batch, "tokens": batch["tokens"][:, :longest]} for batch in batches]
    return Side(name, train, work_of(padded))


def _optimizer(phase: program.Program, model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW with the phase's tables; what the phase freezes is frozen."""
    recipe, by_name = phase.config.optimizer, dict(model.named_parameters())
    layers = {path: x.shape[0] if x.shape else 1 for path, x in flatten(phase.shapes).items()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for path, trains in phase.trainable.items():
        for name, _ in names.sources(path, layers[path], LAYOUT):
            parameter = by_name[name]
            parameter.requires_grad_(trains)
            if trains:
                decay = recipe.weight_decay if phase.decay[path] else 0.0
                groups.setdefault((phase.multipliers[path], decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "multiplier": multiplier, "weight_decay": decay}
            for (multiplier, decay), parameters in groups.items()
        ],
        lr=0.0, betas=(recipe.b1, recipe.b2), eps=recipe.eps, fused=True,
    )  # fmt: skip


def _inputs(batch: Arrays, length: int | None, device: str) -> dict[str, torch.Tensor]:
    """A batch as LLaVA's forward takes it, cut at its longest row or padded to `length`.

    Rows with more than one turn come with a mask [B, 1, T, T] and positions.
    """
    ids = batch["turn_ids"]
    end = length or int((ids >= 0).sum(1).max())
    labels = np.full(ids.shape, IGNORED, np.int64)
    # transformers shifts by one: the target of position t is the label of t + 1.
    supervised = batch["weights"][:, :-1] > 0
    labels[:, 1:][supervised] = batch["targets"][:, :-1][supervised]
    inputs = {
        "input_ids": batch["tokens"][:, :end].astype(np.int64),
        "labels": labels[:, :end],
        "pixel_values": np.asarray(normalize(batch["images"])).transpose(0, 3, 1, 2),
    }
    if ids.max() > 1:
        mask = np.asarray(turn_mask(ids, batch["positions"]))[:, :, :end, :end]
        inputs["attention_mask"] = np.where(mask, 0.0, np.finfo(np.float32).min).astype(np.float32)
        inputs["position_ids"] = batch["positions"][:, :end].astype(np.int64)
    else:
        inputs["attention_mask"] = (ids[:, :end] >= 0).astype(np.int64)
    return {key: torch.tensor(np.ascontiguousarray(x)).to(device) for key, x in inputs.items()}


def decoding_side(peer: Peer, asked: Asked, eos: int, pad: int, new_tokens: int) -> Side:
    """`generate` on the same questions, all in one batch, padded on the left."""
    model = peer.model().eval()
    images, places = np.nonzero(asked.lengths)
    prompts = [
        np.concatenate([asked.prefix, asked.turns[b, q, : asked.lengths[b, q]]])
        for b, q in zip(images, places, strict=True)
    ]
    longest = max(map(len, prompts))
    tokens = np.full((len(prompts), longest), pad, np.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = prompt
    there = np.arange(longest) >= longest - np.array([len(p) for p in prompts])[:, None]
    pixels = np.asarray(normalize(asked.images)).transpose(0, 3, 1, 2)[images]
    inputs = {
        "input_ids": torch.tensor(tokens).to(peer.device),
        "attention_mask": torch.tensor(there.astype(np.int64)).to(peer.device),
        "pixel_values": torch.tensor(np.ascontiguousarray(pixels)).to(peer.device),
    }

    @torch.inference_mode()
    def answer(_: int) -> list[list[int]]:
        with _quiet(), torch.autocast(peer.device, torch.bfloat16, enabled=peer.autocast):
            out = model.generate(
                **inputs, max_new_tokens=new_tokens, do_sample=False,
                eos_token_id=eos, pad_token_id=eos,
            )  # fmt: skip
        answers = out[:, longest:].tolist()
        return [row[: row.index(eos)] if eos in row else row for row in answers]

    return Side("hf: generate", answer, {"questions": len(prompts)})


def versions() -> dict[str, str]:
    return {"torch": torch.__version__, "transformers": transformers.__version__}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' advice about generation settings."""
    logger = logging.getLogger("transformers")
    before = copy.copy(logger.level)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
