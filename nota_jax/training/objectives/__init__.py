"""The objectives that a configuration can choose (`config.objective`), a file each."""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict

from nota_jax.errors import UserError
from nota_jax.training.objectives import answers, described, reading, symbols, text
from nota_jax.training.terms import Objective

OBJECTIVES = {
    "answers": answers.objective,
    "described": described.objective,
    "reading": reading.objective,
    "symbols": symbols.objective,
    "text": text.objective,
}


def from_config(config: ConfigDict) -> Objective:
    """The chosen objective; `config.loss_weights` are the factors of its terms in the loss.

    Raises:
      UserError: there is no such objective or no such term, or nothing would be made smaller.
    """
    if config.objective not in OBJECTIVES:
        there = ", ".join(OBJECTIVES)
        raise UserError(f"config.objective is {config.objective!r}; there is {there}")
    chosen = OBJECTIVES[config.objective](config)
    factors = dict(config.loss_weights)
    if unknown := sorted(factors.keys() - chosen.factors.keys()):
        raise UserError(
            f"config.loss_weights.{unknown[0]}: the objective {config.objective!r} has no such "
            f"term; it has {', '.join(chosen.factors)}"
        )
    factors = {name: x for name, x in ({**chosen.factors, **factors}).items() if x}
    if not factors:
        raise UserError("config.loss_weights are all 0: there is nothing to train for")
    return dataclasses.replace(chosen, factors=factors)
