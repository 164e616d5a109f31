"""Runs transformers and nota_jax on the same scores and texts, and says how far they are apart.

    python -m conversion.verify --hf DIR --ckpt CKPT [--images PNG …] [--question TEXT]

DIR is a Hugging Face LLaVA that transformers itself can load, CKPT a conversion or a run.  Both
compute in float32.  Printed are, for each picture and for a text without one, the largest
difference of every stage, the Kullback-Leibler divergence of the logits, and whether the greedy
answers are the same.  Exit status: 0 the same model, 1 not the same, 2 a mistake.

Needs PyTorch: pip install 'nota_jax[convert]'.  Without --images two tunes are engraved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from conversion import from_hf, tensors, to_hf
from nota_jax.checkpoint import steps
from nota_jax.data.feed import chat, images
from nota_jax.data.feed.tokenizer import load_tokenizer
from nota_jax.errors import UserError, exit_status, first_line
from nota_jax.models import decode
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.notation.abc import reader
from nota_jax.notation.engraving.layout import engrave
from nota_jax.pixels import IMAGE_STD, normalize

TEMPLATE = "mistral_instruct"
QUESTION = "What is the key of this tune?"
# Of float32: differences of a stage, as a share of its largest number; of the logits in nats.
TOLERANCE, KL_TOLERANCE = 1e-3, 1e-5
TUNES = (
    "X:1\nT:Up and Down\nM:4/4\nL:1/8\nK:G\nGABc d2B2|c2A2 G4|gfed c2A2|B2A2 G4|]\n",
    "X:2\nT:Waltz in Thirds\nC:Anonymous\nM:3/4\nL:1/4\nK:Dm\nD2F|E2G|F2A|G2B|A2c|d3|]\n",
)
TEXT = "What does the field K: of an ABC tune say?"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One prompt: a picture with a question, or text alone (png and pixels are None).

    pixels [1, S, S, 3], normalised; tokens int [1, T], of which `n_prefix` lie before the question.
    """

    name: str
    png: bytes | None
    pixels: np.ndarray | None
    tokens: np.ndarray
    n_prefix: int


@dataclass
class Result:
    """What a model makes of a case: an array for each stage, and its greedy tokens."""

    stages: dict[str, np.ndarray] = field(default_factory=dict)
    answer: list[int] = field(default_factory=list)


def verify(
    hf: Path,
    ckpt: Path,
    pictures: Sequence[Path] = (),
    question: str = QUESTION,
    new_tokens: int = 32,
    say: Say = print,
) -> bool:
    """Whether both are the same model; prints the comparison.

    Raises:
      UserError: one of the directories cannot be read, or PyTorch is missing.
    """
    torch, transformers = _torch()
    run = to_hf.open_run(ckpt)
    if run.architecture.vision.patches != "all":
        raise UserError(
            f"{ckpt} looks at {run.architecture.vision.patches} patches alone, which transformers' "
            "LLaVA does not: there is nothing to compare it with"
        )
    if not tensors.is_checkpoint(hf):
        raise UserError(f"{hf} is not the directory of a Hugging Face model")
    tok = run.tokenizer or load_tokenizer(hf)
    cases = _cases(run, tok, pictures, question)
    good = _same_processor(transformers, hf, cases, tok, run.image_mode, question, say)

    # One model at a time: two of 7b do not fit into one host.
    theirs = _run_theirs(torch, transformers, hf, cases, run, new_tokens)
    ours = _run_ours(run, cases, tok.eos_token_id, new_tokens)
    for case, a, b in zip(cases, ours, theirs, strict=True):
        good &= _same_results(case, a, b, tok, say)
    say("the same model" if good else "NOT the same model")
    return good


def _torch() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install 'nota_jax[convert]'") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def _pngs(pictures: Sequence[Path]) -> list[tuple[str, bytes]]:
    """(name, encoded picture) of the files, or of two engraved tunes."""
    if not pictures:
        return [
            (f"engraved tune {i}", engrave(reader.parse(text)).png)
            for i, text in enumerate(TUNES, 1)
        ]
    for path in pictures:
        if not path.is_file():
            raise UserError(f"there is no picture {path}")
    return [(path.name, path.read_bytes()) for path in pictures]


def _cases(run: to_hf.Trained, tok: Any, pictures: Sequence[Path], question: str) -> list[Case]:
    config = run.architecture
    prefix = chat.encode_prefix(tok, TEMPLATE, config.num_image_tokens)
    prompt = chat.encode_prompts(tok, TEMPLATE, [question])[0]
    tokens = np.array([prefix + prompt])
    cases = []
    for name, png in _pngs(pictures):
        page = images.load(png, config.vision.image_size, run.image_mode, name=name)
        cases.append(Case(name, png, normalize(page)[None], tokens, len(prefix)))
    text = tok(f"[INST] {TEXT} [/INST]", add_special_tokens=False)["input_ids"]
    return [*cases, Case("text alone", None, None, np.array([[tok.bos_token_id, *text]]), 0)]


def _same_processor(
    transformers: Any,
    hf: Path,
    cases: Sequence[Case],
    tok: Any,
    image_mode: str,
    question: str,
    say: Say,
) -> bool:
    """Pixels and prompt of the directory's own processor against ours, where it has one.

    Pictures that are not square are prepared as the model card says; what becomes of them without
    is said, and held against nobody.
    """
    if not (hf / "preprocessor_config.json").is_file():
        say("no processor there: pixels and prompts not compared")
        return True
    try:
        processor = transformers.AutoProcessor.from_pretrained(hf)
    except Exception as error:  # whatever transformers thinks of it; the model may still be fine
        say(f"its processor does not load ({str(error).splitlines()[0][:120]}): not compared")
        return True
    text, ways = _prompt(processor, tok, question)
    good = True

    def levels(case: Case, found: Any) -> float:
        apart = np.abs(np.moveaxis(found["pixel_values"], 1, -1) - case.pixels)
        return float((apart * np.asarray(IMAGE_STD)).max() * 255)

    for case in cases:
        if case.png is None:
            continue
        page = images.decode(case.png, name=case.name).convert("RGB")
        shown = images.pad(page, images.WHITE) if image_mode == "pad" else page
        found = [processor(images=shown, text=text, return_tensors="np", **way) for way in ways]
        same = all(prompt["input_ids"].tolist() == case.tokens.tolist() for prompt in found)
        apart, prompt = levels(case, found[0]), "the same" if same else "DIFFERENT"
        say(f"{case.name}: processor's pixels differ by {apart:.3f} of 1/255, prompt {prompt}")
        good &= same and apart <= 1
        straight = levels(case, processor(images=page, text=text, return_tensors="np"))
        if straight > max(apart, 1):
            say(
                f"{case.name}: not square, and by {straight:.0f} of 1/255 another picture if it is "
                "not laid on a white one first (the model card has the lines)"
            )
    return good


def _prompt(processor: Any, tok: Any, question: str) -> tuple[str, list[dict[str, Any]]]:
    """The question with a picture in front, and the ways in which clients tokenise that.

    Rendered by the directory's chat template where that is training's; another's is its own affair.
    """
    if getattr(processor, "chat_template", None) == chat.chat_template(tok, TEMPLATE):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        message = [{"role": "user", "content": content}]
        text = processor.apply_chat_template(message, add_generation_prompt=True)
        return text, [{}, {"add_special_tokens": False}]
    written = chat.template(TEMPLATE)
    return written.before_image + chat.IMAGE + written.prompt(question), [{}]


def _run_theirs(
    torch: Any,
    transformers: Any,
    hf: Path,
    cases: Sequence[Case],
    run: to_hf.Trained,
    new_tokens: int,
) -> list[Result]:
    model = _load_theirs(torch, transformers, hf)
    inner = getattr(model, "model", model)
    layer = run.architecture.vision.feature_layer
    results = []
    with torch.no_grad():
        for case in cases:
            stages = {}
            tokens = torch.tensor(case.tokens)
            inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            if case.pixels is not None:
                pixels = torch.tensor(np.moveaxis(case.pixels, -1, 1))
                hidden = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
                seen = hidden[layer][:, 1:]
                stages["vision"] = seen.numpy()
                stages["connector"] = inner.multi_modal_projector(seen).numpy()
                inputs["pixel_values"] = pixels
            stages["logits"] = model(**inputs).logits.numpy()
            made = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
            results.append(Result(stages, made[0, tokens.shape[1] :].tolist()))
    return results


def _load_theirs(torch: Any, transformers: Any, hf: Path) -> Any:
    does_not_load = f"transformers {transformers.__version__} does not load {hf}"
    try:
        model, problems = transformers.LlavaForConditionalGeneration.from_pretrained(
            hf, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # it raises whatever its parts raise
        reason = first_line(error)[:200]
        raise UserError(f"{does_not_load}: {reason}") from error
    if wrong := [*problems["missing_keys"], *problems["unexpected_keys"]]:
        first = ", ".join(sorted(map(str, wrong))[:4])
        raise UserError(f"{does_not_load} whole, so there is nothing to compare: {first} …")
    return model.eval()


def _run_ours(run: to_hf.Trained, cases: Sequence[Case], eos: int, new_tokens: int) -> list[Result]:
    config = run.architecture
    model = NotaGPT(config)
    params = steps.load_params(run.place, param_shapes(config))
    variables = {"params": jax.tree.map(jnp.asarray, params)}

    def stage(method):
        apply = jax.jit(lambda weights, *inputs: model.apply(weights, *inputs, method=method))
        return partial(apply, variables)  # an argument: a constant would be copied

    see, connect = stage(lambda m, x: m.vision_tower(x)), stage("encode_images")
    think, speak = stage("hidden"), stage("logits")
    results = []
    for case in cases:
        result = Result()
        features = jnp.zeros((1, config.num_image_tokens, config.text.hidden_size))
        if case.pixels is not None:
            features = connect(case.pixels)
            result.stages["vision"] = np.asarray(see(case.pixels))
            result.stages["connector"] = np.asarray(features)
        places = np.broadcast_to(np.arange(case.tokens.shape[1]), case.tokens.shape)
        hidden = think(case.tokens, np.zeros_like(places), places, features)
        result.stages["logits"] = np.asarray(speak(hidden))
        if case.pixels is not None:  # our decoding is about pictures
            turn = case.tokens[:, case.n_prefix :]
            found = decode.generate(
                model, variables["params"], jnp.asarray(case.pixels),
                case.tokens[:, : case.n_prefix], turn[None], np.array([[turn.shape[1]]]),
                max_new_tokens=new_tokens, eos_ids=(eos,),
            )  # fmt: skip
            result.answer = found.tokens[0, 0, : found.lengths[0, 0]].tolist()
        results.append(result)
    return results


def _same_results(case: Case, ours: Result, theirs: Result, tok: Any, say: Say) -> bool:
    good, parts = True, []
    for stage, there in theirs.stages.items():
        apart = float(np.abs(ours.stages[stage] - there).max())
        size = float(np.abs(there).max())
        # Not `apart > …`: a NaN is no agreement.
        good &= apart <= TOLERANCE * size
        parts.append(f"{stage} {apart:.2e} of {size:.3g}")
    kl = divergence(theirs.stages["logits"], ours.stages["logits"])
    good &= kl <= KL_TOLERANCE
    line = f"{case.name}: largest difference: {', '.join(parts)}; KL {kl:.2e}"
    if case.pixels is not None:
        ends = {tok.eos_token_id, tok.pad_token_id}
        a, b = ([t for t in result.answer if t not in ends] for result in (ours, theirs))
        good &= a == b
        line += f"; greedy text {'the same' if a == b else 'DIFFERENT'}: {tok.decode(a)[:60]!r}"
        if a != b:
            line += f" against {tok.decode(b)[:60]!r}"
    say(line)
    return good


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Largest Kullback-Leibler divergence, over positions, of softmax(q) from softmax(p), nats."""
    p, q = (x.astype(np.float64) for x in (p, q))
    p, q = (x - x.max(-1, keepdims=True) for x in (p, q))
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
    return float((np.exp(p) * (p - q)).sum(-1).max())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = from_hf.command("conversion.verify", __doc__)
    parser.add_argument("--hf", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ckpt", type=Path, required=True, metavar="CKPT")
    parser.add_argument("--images", type=Path, nargs="+", default=(), metavar="PNG")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--new-tokens", type=int, default=32)
    args = parser.parse_args(argv)
    return exit_status(
        lambda: int(not verify(args.hf, args.ckpt, args.images, args.question, args.new_tokens))
    )


if __name__ == "__main__":
    sys.exit(main())
