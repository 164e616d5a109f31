import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from nota_jax.errors import UserError
from nota_jax.models.decode import generate, keep_top_p
from nota_jax.models.notagpt import NotaGPT
from tests.models.hf_reference import hf_llava, params_of, random_inputs, tiny, to_torch_pixels

NEW = 12
NO_EOS = (tiny().text.vocab_size,)  # a token that is never made
LENGTHS = np.array([[3, 7, 0], [5, 1, 4]])  # image 0 has two questions, image 1 three


def questions(config, seed=0):
    pixels, tokens = random_inputs(config, text=0, seed=seed)
    turns = np.random.default_rng(seed).integers(8, config.text.vocab_size, (2, 3, 8))
    return pixels, tokens, turns


def greedy_setting(sliding_window):
    config = tiny(text={"sliding_window": sliding_window})
    reference = hf_llava(config)
    with torch.no_grad():  # an answer never holds the image token, whose logit is now 0
        reference.lm_head.weight[config.image_token_id] = 0
    params, inputs = params_of(reference), questions(config)
    free = generate(NotaGPT(config), params, *inputs, LENGTHS, max_new_tokens=NEW, eos_ids=NO_EOS)
    return config, reference, params, inputs, free


@pytest.fixture(scope="module")
def setting():
    """A window shorter than prompt and answer together: it matters in prefill and steps."""
    return greedy_setting(sliding_window=9)


def each_question():
    return [(b, q) for b in range(2) for q in range(3) if LENGTHS[b, q]]


@pytest.mark.parametrize("sliding_window", [9, None])
def test_greedy_answers_equal_transformers_generate(sliding_window, request):
    windowed = sliding_window == 9
    given = request.getfixturevalue("setting") if windowed else greedy_setting(None)
    _, reference, _, (pixels, prefix, turns), answers = given
    for b, q in each_question():
        prompt = np.concatenate([prefix[b], turns[b, q, : LENGTHS[b, q]]])[None]
        with torch.no_grad():
            theirs = reference.generate(
                input_ids=torch.tensor(prompt), pixel_values=to_torch_pixels(pixels[b : b + 1]),
                attention_mask=torch.ones(prompt.shape, dtype=torch.long),
                max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        assert answers.tokens[b, q].tolist() == theirs[0, prompt.shape[1] :].tolist()


def test_greedy_answers_equal_teacher_forced_argmax(setting):
    config, _, params, (pixels, prefix, turns), answers = setting
    apply = jax.jit(NotaGPT(config).apply)
    rows = [
        np.concatenate([prefix[b], turns[b, q, : LENGTHS[b, q]], answers.tokens[b, q]])
        for b, q in each_question()
    ]
    longest = max(map(len, rows))
    tokens = np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
    positions = np.broadcast_to(np.arange(longest), tokens.shape)
    images = pixels[[b for b, _ in each_question()]]
    best = apply({"params": params}, images, tokens, positions * 0, positions).argmax(-1)
    for row, guess in zip(rows, best, strict=True):
        np.testing.assert_array_equal(guess[len(row) - NEW - 1 : len(row) - 1], row[-NEW:])


def test_an_answer_stops_at_end_of_sequence_and_an_absent_question_has_none(setting):
    config, _, params, inputs, free = setting
    eos = tuple(int(free.tokens[b, q, 4]) for b, q in [(0, 0), (1, 2)])
    answers = generate(NotaGPT(config), params, *inputs, LENGTHS, max_new_tokens=NEW, eos_ids=eos)
    assert answers.lengths[0, 2] == 0 and (answers.tokens[0, 2] == -1).all()
    for b, q in each_question():
        ends = np.flatnonzero(np.isin(free.tokens[b, q], eos))
        length = ends[0] if len(ends) else NEW
        assert answers.lengths[b, q] == length
        np.testing.assert_array_equal(answers.tokens[b, q, :length], free.tokens[b, q, :length])
        assert (answers.tokens[b, q, length:] == -1).all()
    assert answers.lengths[0, 0] <= 4


def test_questions_do_not_hear_each_other(setting):
    config, _, params, (pixels, prefix, turns), free = setting
    turns, lengths = turns.copy(), LENGTHS.copy()
    turns[:, 1], lengths[:, 1] = 9, 2
    again = generate(
        NotaGPT(config), params, pixels, prefix, turns, lengths,
        max_new_tokens=NEW, eos_ids=NO_EOS,
    )  # fmt: skip
    np.testing.assert_array_equal(again.tokens[:, [0, 2]], free.tokens[:, [0, 2]])


def test_views_of_a_page_write_what_is_most_probable_by_their_mean(setting):
    """Row 0 and 1 show other pictures and ask the same: teacher-forced, the mean agrees."""
    config, _, params, (pixels, prefix, turns), free = setting
    prefix, turns, lengths = prefix[:1], turns[:1], LENGTHS[1:]
    model = NotaGPT(config)
    answers = generate(
        model, params, pixels, prefix, turns, lengths, max_new_tokens=NEW, eos_ids=NO_EOS, views=2
    )
    assert answers.tokens.shape == (1, 3, NEW)
    apply, asked, differ = jax.jit(model.apply), lengths[0].max(), 0
    for q in range(3):
        ahead = len(prefix[0]) + lengths[0, q]
        row = np.concatenate([prefix[0], turns[0, q, : lengths[0, q]], answers.tokens[0, q]])
        tokens = np.tile(np.pad(row, (0, asked - lengths[0, q])), (2, 1))
        positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
        logits = apply({"params": params}, pixels, tokens, positions * 0, positions)
        said = jax.nn.log_softmax(logits[:, ahead - 1 : ahead - 1 + NEW], axis=-1)
        np.testing.assert_array_equal(said.mean(0).argmax(-1), answers.tokens[0, q])
        differ += int((said.argmax(-1) != answers.tokens[0, q]).any(axis=1).all())
    assert differ  # what they agree on is not simply what one of them says


def test_the_same_view_twice_writes_what_it_writes_once(setting):
    config, _, params, (pixels, prefix, turns), free = setting
    answers = generate(
        NotaGPT(config), params, np.repeat(pixels, 2, axis=0), prefix, turns, LENGTHS,
        max_new_tokens=NEW, eos_ids=NO_EOS, views=2,
    )  # fmt: skip
    np.testing.assert_array_equal(answers.tokens, free.tokens)
    np.testing.assert_array_equal(answers.lengths, free.lengths)


def test_sampling_is_seeded_and_turns_greedy_as_it_cools(setting):
    config, _, params, inputs, free = setting

    def sample(seed, **kwargs):
        return generate(
            NotaGPT(config), params, *inputs, LENGTHS, max_new_tokens=NEW,
            eos_ids=NO_EOS, seeds=seed + np.arange(6).reshape(2, 3), **kwargs,
        ).tokens  # fmt: skip

    hot = sample(0, temperature=2.0)
    np.testing.assert_array_equal(hot, sample(0, temperature=2.0))
    assert (hot != sample(1, temperature=2.0)).any() and (hot != free.tokens).any()
    np.testing.assert_array_equal(sample(0, temperature=1e-4), free.tokens)
    np.testing.assert_array_equal(sample(0, temperature=2.0, top_p=1e-6), free.tokens)


def test_a_sampled_answer_depends_on_its_own_seed_and_on_no_neighbour(setting):
    config, _, params, (pixels, prefix, turns), _ = setting
    seeds = np.array([[3, 4, 5], [6, 7, 8]])

    def sample(rows, places):
        return generate(
            NotaGPT(config), params, pixels[rows], prefix[rows], turns[rows][:, places],
            LENGTHS[rows][:, places], max_new_tokens=NEW, eos_ids=NO_EOS, temperature=2.0,
            seeds=seeds[rows][:, places],
        ).tokens  # fmt: skip

    together = sample([0, 1], [0, 1, 2])
    assert len({answer.tobytes() for row in together for answer in row}) > 1
    np.testing.assert_array_equal(sample([1, 0], [2, 0, 1]), together[[1, 0]][:, [2, 0, 1]])
    for row in (0, 1):
        for place in (0, 1, 2):
            np.testing.assert_array_equal(sample([row], [place])[0, 0], together[row, place])


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    logits = jnp.log(jnp.array([[0.1, 0.5, 0.15, 0.25]]))
    kept = [np.isfinite(keep_top_p(logits, p))[0].tolist() for p in (0.4, 0.6, 0.76, 1.0)]
    assert kept == [
        [False, True, False, False], [False, True, False, True], [False, True, True, True],
        [True, True, True, True],
    ]  # fmt: skip


def test_a_prefix_with_another_number_of_image_tokens_is_refused():
    pixels, prefix, turns = questions(tiny())
    with pytest.raises(UserError, match="holds 15 to 15 image tokens; .* take 16"):
        generate(
            NotaGPT(tiny()), {}, pixels, prefix[:, :-1], turns, LENGTHS,
            max_new_tokens=1, eos_ids=(2,),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature >= 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "0 < top_p <= 1"),
        ({"temperature": 1.0}, "needs seeds"),
        ({"views": 3}, "2 rows are no pages of 3 views each"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    arguments = {"max_new_tokens": 1, "eos_ids": (2,)} | arguments
    with pytest.raises(UserError, match=message):
        generate(NotaGPT(tiny()), {}, *questions(tiny()), LENGTHS, **arguments)
