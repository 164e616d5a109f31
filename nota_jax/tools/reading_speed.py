"""How fast a dataset is read: rates of the training pipeline by itself.

python -m nota_jax.tools.reading_speed --dataset DIR
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time

from nota_jax.data.feed.pipeline import Pipeline, PipelineConfig
from nota_jax.data.feed.tokenizer import load_tokenizer, train_bpe
from nota_jax.data.store.reader import texts
from nota_jax.errors import exit_status


def measure(pipeline: Pipeline, seconds: float = 10.0) -> dict[str, float]:
    """Reads batches for so long: rates by the clock, and by the processor time that was spent.

    The start is left out.  The second kind says what one core reads even where others compete.
    """
    batches = iter(pipeline)
    next(batches)
    n_batches = n_images = n_questions = 0
    start, cpu = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = next(batches)
        n_batches += 1
        n_images += len(batch["images"])
        n_questions += sum(map(len, batch["ids"]))
    return {
        "images_per_second": n_images / elapsed,
        "images_per_core_second": n_images / (time.process_time() - cpu),
        "questions_per_second": n_questions / elapsed,
        "batches_per_second": n_batches / elapsed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures how fast a dataset is read.")
    parser.add_argument("--dataset", required=True, help="folder of nota_jax.data.build")
    parser.add_argument("--split", default="extraction_train")
    parser.add_argument("--tokenizer", default="", help="folder; default: a BPE trained on it")
    parser.add_argument("--size", type=int, default=336, help="image side in pixels")
    parser.add_argument("--batch_size", type=int, default=48, help="questions")
    parser.add_argument("--threads", type=int, default=0, help="0: all in one thread")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    return exit_status(lambda: _print_rates(args))


def _print_rates(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tok = (
            load_tokenizer(args.tokenizer)
            if args.tokenizer
            else train_bpe(texts(args.dataset, [args.split]), 1024, folder)
        )
        config = PipelineConfig(
            n_image_tokens=144, image_size=args.size, batch_size=args.batch_size,
            lengths=(256, 512), threads=args.threads,
        )  # fmt: skip
        start = time.perf_counter()
        pipeline = Pipeline(args.dataset, [args.split], tok, config, cache_dir=folder)
        planned = time.perf_counter() - start
    for name, value in pipeline.report().items():
        print(f"{name:22} {value}")
    print(f"{'planned_per_second':22} {pipeline.plan.n_turns / planned:.0f}")
    for name, value in measure(pipeline, args.seconds).items():
        print(f"{name:22} {value:.1f}")


if __name__ == "__main__":
    sys.exit(main())
