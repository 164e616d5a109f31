"""The table engine: first match wins, nothing is left over, mistakes are named together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nota_jax.errors import UserError
from nota_jax.params import (
    count_params,
    describe,
    flatten,
    join_trees,
    optax_mask,
    resolve,
    split_tree,
)

TREE = {
    "vision_tower": {"fc1": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}},
    "language_model": {
        "layers": {"mlp": {"kernel": jnp.ones((4, 2, 2), jnp.bfloat16)}},
        "norm": {"scale": jnp.ones(2)},
    },
}


def test_the_first_matching_rule_wins():
    table = [(r".*/bias", 1), (r"vision_tower/.*", 2), (r".*", 3)]
    assert resolve(table, TREE, table="t") == {
        "language_model/layers/mlp/kernel": 3,
        "language_model/norm/scale": 3,
        "vision_tower/fc1/bias": 1,
        "vision_tower/fc1/kernel": 2,
    }


def test_a_rule_matches_whole_paths_only():
    with pytest.raises(UserError, match="'vision_tower' matches no parameter; near it: vision_"):
        resolve([("vision_tower", 1), (".*", 2)], TREE, table="t")


def test_all_mistakes_are_named_together():
    table = [("vision_towr/.*", 1), ("(", 1), ("vision_tower/.*", 1), ("vision_tower/fc1/.*", 2)]
    with pytest.raises(UserError) as caught:
        resolve(table, TREE, table="trainable")
    text = str(caught.value)
    assert "the trainable table" in text
    assert "rule 1 'vision_towr/.*' matches no parameter; near it: vision_tower" in text
    assert "rule 2 '(' is no regular expression" in text
    assert "rule 4 'vision_tower/fc1/.*' never applies: earlier rules take all" in text
    assert "no rule matches language_model/layers/mlp/kernel, language_model/norm/scale" in text


def test_split_and_join_are_inverse():
    chosen = resolve([(".*/bias", True), (".*", False)], TREE, table="t")
    some, others = split_tree(TREE, chosen)
    assert flatten(some).keys() == {"vision_tower/fc1/bias"}
    assert count_params(some) + count_params(others) == count_params(TREE) == 27
    jax.tree.map(lambda a, b: None if a is b else pytest.fail(), join_trees(some, others), TREE)


def test_join_refuses_what_is_in_both():
    with pytest.raises(ValueError, match="language_model/layers/mlp/kernel is in more than one"):
        join_trees(TREE, TREE)


def test_the_printed_table_folds_what_is_alike_and_counts():
    chosen = resolve([("vision_tower/.*/bias", "yes"), (".*", "no")], TREE, table="t")
    lines = [line.split() for line in describe(TREE, {"trains": chosen}).splitlines()]
    assert lines[0] == ["parameters", "trains", "shape", "arrays", "count", "bytes"]
    assert lines[2] == ["language_model/", "no", "2", "18", "40", "B"]
    assert lines[3] == ["vision_tower/fc1/bias", "yes", "3", "1", "3", "12", "B"]
    assert lines[4] == ["vision_tower/fc1/kernel", "no", "2×3", "1", "6", "24", "B"]
    assert lines[-1] == ["total", "4", "27", "76", "B"]


def test_the_printed_table_says_what_each_device_holds():
    paths = flatten(TREE)
    cut = {path: "fsdp" if path.endswith("kernel") else "-" for path in paths}
    on_each = {path: 8 if path.endswith("kernel") else 12 for path in paths}
    lines = [row.split() for row in describe(TREE, {"cut": cut}, on_each).splitlines()]
    assert lines[0][-3:] == ["on", "each", "device"]
    assert ["vision_tower/fc1/kernel", "fsdp", "2×3", "1", "6", "24", "B", "8", "B"] in lines
    assert lines[-1] == ["total", "4", "27", "76", "B", "40", "B"]


def test_a_masked_optimizer_moves_the_same_parameters_by_the_same_amounts_as_a_split():
    rules = [("vision_tower/.*", False), (".*", True)]
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) + 0.5, TREE)
    grads = jax.tree.map(lambda x: jnp.sin(3 * x), params)
    recipe = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.1))

    def moved(optimizer, params, grads):
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return flatten(params)

    mask = optax_mask(rules, params)
    masked = optax.chain(
        optax.masked(recipe, mask),
        optax.masked(optax.set_to_zero(), jax.tree.map(lambda on: not on, mask)),
    )
    labelled = optax.multi_transform({True: recipe, False: optax.set_to_zero()}, mask)
    chosen, frozen = split_tree(params, resolve(rules, params, table="t"))
    split = moved(recipe, chosen, split_tree(grads, resolve(rules, params, table="t"))[0])
    want = flatten(frozen) | split
    for optimizer in (masked, labelled):
        got = moved(optimizer, params, grads)
        assert got.keys() == want.keys()
        for path, leaf in got.items():
            np.testing.assert_array_equal(leaf, want[path], err_msg=path)
    assert all(np.any(split[path] != flatten(chosen)[path]) for path in split)
