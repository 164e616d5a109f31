"""Counting and timing."""

import jax
import jax.numpy as jnp
import numpy as np

from nota_jax.training import metrics


def test_work_counts_what_is_not_padding():
    turn_ids = np.array([[0, 0, 1, 2, 2, -1], [0, 0, 1, 1, 1, 1], [-1] * 6])
    batch = {"turn_ids": turn_ids, "images": turn_ids}
    one = metrics.Totals(steps=1, tokens=11, images=2, questions=3, flops=3.0)
    assert metrics.work(batch, 3.0) == metrics.work(batch, 3.0, rows=2) == one


def test_work_counts_what_the_other_processes_read_too():
    batch = {"turn_ids": np.array([[0, 0, 1, 2], [0, 0, 1, -1], [-1] * 4]), "images": np.zeros(3)}
    done = metrics.work(batch, rows=2, of=5)  # 2 here, 3 in another process
    assert (done.tokens, done.images, done.questions) == (round(7 * 2.5), 5, round(3 * 2.5))
    alone = metrics.work({"images": np.zeros((3, 2, 2, 3))}, rows=2, of=5)
    assert (alone.images, metrics.work(batch, rows=0, of=5).tokens) == (5, 0)


def test_speeds_are_work_by_time():
    done = metrics.Totals(
        steps=2, tokens=100, images=4, questions=8, flops=3e9, seconds=4.0, waited=1.0
    )
    assert metrics.rates(done, peak_flops=3e9) == {
        "steps_per_second": 0.5,
        "tokens_per_second": 25.0,
        "images_per_second": 1.0,
        "questions_per_second": 2.0,
        "data_wait": 0.25,
        "mfu": 0.25,
    }
    assert "mfu" not in metrics.rates(done)


def averages(loss, tokens, rate):
    sums = {"answers": (loss * tokens, tokens), "places": (0.0, 0.0) if loss == 1.0 else (6.0, 2.0)}
    return metrics.averages(jax.tree.map(jnp.float32, sums), jnp.float32(loss), jnp.float32(rate))


def test_a_report_adds_sums_and_weights_before_it_divides_and_starts_afresh():
    meter = metrics.Meter({"answers": 1.0, "places": 0.5})
    meter.add(metrics.Totals(tokens=40), averages(1.0, 30.0, 0.25))
    meter.add(metrics.Totals(tokens=40), averages(3.0, 10.0, 0.5))
    first = meter.report()
    assert (first["answers"], first["places"], first["loss"]) == (1.5, 3.0, 3.0)
    assert (first["grad_norm"], first["learning_rate"]) == (2.0, 0.5)
    meter.add(metrics.Totals(tokens=1), averages(3.0, 10.0, 0.5))
    assert (meter.report()["answers"], meter.totals.tokens) == (3.0, 81)


def test_a_term_without_weight_is_left_out_of_a_report():
    found = metrics.merged([averages(1.0, 30.0, 0.25)], {"answers": 1.0, "places": 0.5})
    assert "places" not in found and found["loss"] == 1.0


def test_work_of_pictures_alone_and_of_text_alone_is_counted():
    pictures = metrics.work({"images": np.zeros((3, 2, 2, 3))})
    assert (pictures.images, pictures.tokens, pictures.questions) == (3, 0, 0)
    text = metrics.work({"turn_ids": np.array([[0, 1, 1], [0, 1, -1]])})
    assert (text.images, text.tokens, text.questions) == (0, 5, 2)


def test_a_line_tells_speed_and_remaining_time():
    report = dict(
        loss=1.25, answers=1.25, accuracy=0.5, learning_rate=1e-3, grad_norm=0.5, data_wait=0.02
    )
    report |= dict(tokens_per_second=12345.6, images_per_second=10.0, questions_per_second=60.0)
    line = metrics.line(7, 100, report | dict(steps_per_second=0.5))
    assert line == (
        "step   7/100  loss 1.2500  accuracy 0.500  lr 1.00e-03  |g| 0.50  12,346 tok/s  "
        "10.0 img/s  60.0 q/s  wait 2 %  ETA 3:06"
    )
