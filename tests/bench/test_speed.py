"""The benchmark compares like with like: same records, same losses, same answers, taking turns."""

import itertools
import json

import numpy as np
import pytest

from configs import phase2
from nota_jax.bench import sides, speed
from nota_jax.bench.records import one_row_per_question, questions_of, random_records
from nota_jax.errors import UserError

N_IMAGE = 16


@pytest.fixture
def small(tmp_path):
    """Phase 2 at the smallest shapes, without dataset or run."""
    c = phase2.get_config("tiny")
    c.model.vision.update(image_size=28, patch_size=7, hidden_size=32, intermediate_size=64)
    c.model.vision.update(num_hidden_layers=2, num_attention_heads=2, most_patches=16)
    c.model.operands = ""  # answers are compared token by token
    c.model.text.update(hidden_size=32, intermediate_size=64, num_hidden_layers=2)
    c.model.text.update(num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    c.data.tasks = ("extraction",)
    c.vocab_size, c.data.batch_size, c.data.lengths = 128, 12, (128,)
    c.run_dir, c.data.dir = str(tmp_path / "run"), str(tmp_path / "data")
    return c


def test_rows_of_their_own_hold_the_same_records(small):
    batch = random_records(small, N_IMAGE, multiple=1).batches[0]
    single = one_row_per_question(batch, pad=0, multiple=8)
    assert len(batch["tokens"]) == 2 and len(single["tokens"]) == 12
    supervised = [(b["tokens"], b["targets"], b["weights"] > 0) for b in (batch, single)]
    (shared_tokens, shared_targets, a), (tokens, targets, b) = supervised
    np.testing.assert_array_equal(shared_targets[a], targets[b])  # in the same order
    np.testing.assert_array_equal(shared_tokens[a], tokens[b])
    assert set(np.unique(single["turn_ids"])) == {-1, 0, 1}
    for row in range(12):
        used = single["turn_ids"][row] >= 0
        np.testing.assert_array_equal(single["positions"][row, used], np.arange(used.sum()))
        np.testing.assert_array_equal(single["images"][row], batch["images"][row // 6])


def test_questions_end_where_their_answers_start(small):
    batch = random_records(small, N_IMAGE, multiple=1).batches[0]
    asked = questions_of(batch, n_images=1)
    assert asked.images.shape[0] == 1 and asked.lengths.shape == (1, 6)
    assert (asked.prefix == 4).sum() == N_IMAGE
    turn = batch["turn_ids"][0] == 1
    first = np.flatnonzero(turn & (batch["weights"][0] > 0))[0]  # predicts the answer's first token
    start = np.flatnonzero(turn)[0]
    np.testing.assert_array_equal(
        asked.turns[0, 0, : asked.lengths[0, 0]], batch["tokens"][0, start : first + 1]
    )


def test_sides_take_turns_and_the_first_round_is_not_timed():
    order = []
    both = [sides.Side(n, lambda i, n=n: order.append((n, i)) or float(i)) for n in ("a", "b")]
    found, times = sides.alternate(both, 2, say=lambda _: None)
    turns = [[(n, 3 * round + k) for k in range(3)] for round in range(3) for n in ("a", "b")]
    assert order == list(itertools.chain(*turns)) and sides.IN_TURN == 3
    assert found["a"] == [float(i) for i in range(9)] and len(times["a"]) == 2


def test_sides_that_compute_something_else_are_refused():
    with pytest.raises(UserError, match="do not compute the same"):
        sides.compare_losses({"us": [2.0, 1.0], "hf": [2.01, 1.0]})
    with pytest.raises(UserError, match="do not compute the same"):
        sides.compare_losses({"us": [2.0], "hf": [float("nan")]})
    found = sides.compare_losses({"us": [2.0, 1.0], "hf": [2.0, 1.1]})
    assert found == {"first_step": 0.0, "all_steps": pytest.approx(0.1)}


def test_answers_are_counted_as_the_same_only_if_they_are():
    found = sides.compare_answers({"us": [[[1, 2], [3]]], "hf": [[[1, 2], [4]]]}, 8)
    assert found["same"] == 1 and found["questions"] == 2


def test_transformers_does_the_same_work(small, tmp_path):
    """Same weights, records, optimizer: three steps of equal losses, then equal answers."""
    settings = speed.Settings(
        rounds=2, peer="hf", decode=True, compiled=False, new_tokens=6, out=tmp_path / "out"
    )
    results = speed.run(small, settings, say=lambda _: None)
    assert list(results["training"]) == [
        "us: shared rows", "us: one row per question",
        "hf: one row per question", "hf: shared rows",
    ]  # fmt: skip
    assert results["loss_difference"]["all_steps"] < 1e-3
    losses = results["losses"]["us: shared rows"]
    assert losses[0] != losses[-1]  # it trained
    assert results["decoded"]["same"] == results["decoded"]["questions"] == 12
    shared, single, peers = results["decoding"].values()
    assert single["flops_done"] > shared["flops_done"] and "flops_done" not in peers
    shared, single = list(results["training"].values())[:2]
    assert single["flops_done"] > 1.2 * shared["flops_done"]
    assert single["questions"] == shared["questions"]
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == results
    assert "12 of 12 are the same" in (tmp_path / "out" / "bench.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds and --new-tokens are at least 1"),
        (["--config.data.batchsize=3"], "batch_size"),
        (["stray"], "'stray'"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_sentence(arguments, message):
    with pytest.raises(UserError, match=message):
        speed.parse(["bench", "--config=configs/phase2.py", *arguments])


def test_rows_without_room_are_refused(small):
    small.data.lengths = (32,)
    with pytest.raises(UserError, match="raise config.data.lengths"):
        random_records(small, N_IMAGE, multiple=1)
