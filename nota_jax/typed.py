"""What was typed on the command line, and whether it can be what happens.

A field has one name here; whoever comes from another trainer types that one's.  And a folder that
was typed has to be there: the one that a configuration names by itself may be missing (phase 1 has
not run yet, the dataset is not built), the one that somebody asked for may not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nota_jax import jsontext, places
from nota_jax.errors import UserError, cut
from nota_jax.values import DRAWING_SHARES, OPEN, flat

# What other trainers call it: last part of the name, lower case, "_" for "-".
OTHER_NAMES = {
    "optim.learning_rate": "lr base_lr peak_lr max_lr learningrate step_size",
    "optim.weight_decay": "wd decay l2 weightdecay",
    "optim.warmup": "warmup_ratio warmup_steps num_warmup_steps warmup_fraction warm_up",
    "optim.final": "min_lr final_lr end_lr min_lr_ratio lr_end",
    "optim.clip_norm": "clip grad_clip gradient_clip max_grad_norm clip_grad_norm "
    "gradient_clip_val grad_norm",
    "optim.b1": "beta1 adam_beta1 beta_1 momentum",
    "optim.b2": "beta2 adam_beta2 beta_2",
    "optim.eps": "epsilon adam_epsilon adam_eps",
    "data.batch_size": "bs batch batch_size batchsize global_batch_size train_batch_size "
    "per_device_train_batch_size per_device_batch_size per_gpu_batch_size micro_batch_size",
    "data.accumulation": "gradient_accumulation_steps grad_accum accum accumulate accum_steps "
    "accumulate_grad_batches grad_accumulation gradient_accumulation accumulation_steps",
    "data.dir": "dataset data_dir data_path dataset_dir dataset_path dataset_name train_data "
    "image_folder train_file",
    "data.threads": "num_workers dataloader_num_workers n_workers num_threads prefetch",
    "data.build.workers": "build_workers",
    "data.lengths": "max_len max_length max_seq_len max_seq_length model_max_length seq_len "
    "sequence_length cutoff_len block_size context_length",
    "data.degrade": "augment augmentation aug",
    "data.template": "chat_template prompt_template conv_version conv_mode",
    "epochs": "epoch num_epochs n_epochs num_train_epochs max_epochs",
    "steps": "max_steps num_steps n_steps total_steps train_steps num_train_steps max_iters "
    "iterations iters max_train_steps",
    "run_dir": "output_dir out_dir outdir output out workdir work_dir logdir log_dir save_dir "
    "checkpoint_dir ckpt_dir exp_dir experiment name run_name",
    "init_from": "model_name model_name_or_path model_path pretrained base_model checkpoint ckpt "
    "load_from weights init_checkpoint pretrained_model_name_or_path llava vision_tower",
    "previous": "resume resume_from resume_from_checkpoint prev from_run start_from",
    "tokenizer": "tokenizer_name tokenizer_path tokenizer_dir tok",
    "trainable": "freeze frozen unfreeze trainable_modules tune_mm_mlp_adapter freeze_backbone",
    "objective": "loss loss_type task_type criterion",
    "dtype": "precision bf16 fp16 mixed_precision torch_dtype compute_dtype amp",
    "model.remat": "gradient_checkpointing checkpointing activation_checkpointing remat_policy",
    "model.vision.image_size": "resolution img_size imagesize size_px",
    "model.text.num_hidden_layers": "num_layers n_layers layers depth n_layer",
    "model.text.num_attention_heads": "num_heads n_heads heads n_head",
    "model.text.hidden_size": "hidden_dim d_model width dim n_embd embed_dim",
    "model.text.intermediate_size": "mlp_dim ffn_dim d_ff",
    "mesh.data": "dp data_parallel ddp num_gpus n_gpus devices",
    "mesh.fsdp": "zero zero_stage deepspeed sharding",
    "mesh.tensor": "tp tensor_parallel model_parallel mp tensor_parallel_size",
    "log_every": "logging_steps log_steps log_interval log_freq print_freq logging_interval",
    "save_every": "save_steps save_interval checkpoint_every ckpt_every save_freq "
    "checkpoint_interval checkpointing_steps",
    "keep": "save_total_limit keep_last max_to_keep keep_checkpoints",
    "seed": "random_seed rng_seed manual_seed data_seed",
    "eval.batch_size": "eval_batch_size per_device_eval_batch_size test_batch_size val_batch_size",
    "eval.questions": "max_eval_samples eval_samples num_eval eval_limit n_eval",
    "eval.every": "eval_steps eval_interval eval_freq eval_every evaluation_steps "
    "val_check_interval val_interval validate_every evaluation_strategy eval_strategy",
    "eval.split": "eval_split test_split val_split do_eval",
    "eval.max_new_tokens": "max_tokens max_new_token max_gen_len max_generate",
    "eval.temperature": "temp",
    "eval.top_p": "topp nucleus",
    "profile": "profiler trace profile_steps",
}
_BY_OTHER_NAME = {other: key for key, names in OTHER_NAMES.items() for other in names.split()}


def explain(key: str, there: Collection[str]) -> str:
    """A sentence about a key that the configuration does not have, with the one that was meant.

    there: all its keys, groups included.
    """
    group, _, name = key.rpartition(".")
    if group in OPEN:
        return (
            f"the configuration has no field {key!r}, and the command line makes no new ones: "
            f"write c.{group}.{name} = … in a configuration file of your own"
        )
    last = key.rsplit(".", 1)[-1].lower().replace("-", "_")
    same = [known for known in sorted(there) if known.rsplit(".", 1)[-1] == last]
    meant = _BY_OTHER_NAME.get(key.lower().replace("-", "_").replace(".", "_"))
    meant = meant or _BY_OTHER_NAME.get(last)
    known_by = [meant] if meant and meant in there else []
    near = same or known_by or difflib.get_close_matches(key, sorted(there), n=2, cutoff=0.6)
    if near:
        hint = "did you mean " + " or ".join(near) + "?"
    else:
        hint = "it has " + ", ".join(dict.fromkeys(known.split(".")[0] for known in there))
    return f"the configuration has no key {cut(repr(key))}: {hint}"


def named(argv: Sequence[str]) -> frozenset[str]:
    """The keys that a command line sets."""
    found = (re.match(r"--config\.([^=]+)", argument) for argument in argv)
    return frozenset(match[1] for match in found if match)


def changed(config: Mapping[str, Any], default: Mapping[str, Any] | None) -> frozenset[str]:
    """The keys whose value is not the configuration file's."""
    if default is None:
        return frozenset()
    ours, own = flat(config), flat(default)
    return frozenset(key for key in ours if ours[key] != own.get(key))


def require_chosen_by_argument(argv: Sequence[str], keys: Collection[str]) -> None:
    """Size and phase decide what a configuration holds: set alone they would be a wrong label.

    Raises:
      UserError: one of them is among the keys that were set.
    """
    path = next((a for a in argv if a.startswith("--config=")), "--config=configs/phase2.py")
    file = path.partition(":")[0]
    if "size" in keys:
        raise UserError(
            f"config.size is a label of what the configuration holds: choose {file}:SIZE"
        )
    if "phase" in keys:
        raise UserError(
            "config.phase is a label of what the configuration holds: choose another file, as "
            "--config=configs/phase3.py"
        )


def require_places(
    config: Mapping[str, Any], named: Collection[str], changed: Collection[str], begun: bool
) -> None:
    """Folders that were typed are there, or may be made, before anything is built or trained.

    named: the keys that were typed; changed: those whose values are not the file's own.
    begun: the run has a checkpoint, and does not ask where it began.

    Raises:
      UserError: naming the first that is not, and what may have been meant.
    """
    v, keys = flat(config), set(named) & set(changed)
    for key in ("tokenizer",) if begun else ("previous", "init_from", "tokenizer"):
        if key in keys and v[key]:
            _require_there(key, places.folder_of(v[key]))
    if not begun and "parts" in keys:
        for _, folder in v["parts"]:
            _require_there("parts", places.folder_of(folder))
    folder = Path(v["data.dir"])
    build = sorted(key for key in named if key.startswith("data.build."))
    if folder.is_dir() and any(folder.iterdir()):
        _require_built_so(folder, {key: v[key] for key in build})
    elif "data.dir" in keys and not build:
        raise UserError(
            f"config.data.dir is {folder}, where no dataset is{_near(folder)}; it is not the "
            "configuration's own, so nothing is built there unasked: add "
            "--config.data.build.limit=0 for all tunes (or another field of data.build), or "
            f"build it with `python -m nota_jax.data.build --out {folder}`"
        )


def _require_there(key: str, folder: Path) -> None:
    if not (folder.is_dir() and any(folder.iterdir())):
        kind = "not there" if not folder.exists() else "empty" if folder.is_dir() else "a file"
        none = "()" if key == "parts" else ""
        raise UserError(
            f"config.{key} is {folder}, which is {kind}{_near(folder)}; --config.{key}={none} goes "
            "without"
        )


def _near(folder: Path) -> str:
    """ "; near it are …", or nothing."""
    try:
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    except OSError:
        return ""
    names = difflib.get_close_matches(folder.name, beside, n=2) or sorted(beside)[:4]
    names = [name for name in names if not name.startswith(".")]
    return f" (beside it: {', '.join(str(folder.parent / name) for name in names)})" * bool(names)


def _require_built_so(folder: Path, build: Mapping[str, Any]) -> None:
    """What was typed of data.build is how the dataset that is there was built."""
    try:
        report = jsontext.parse((folder / "build_report.json").read_bytes())["arguments"]
        report = {"split_by": "hash"} | report  # before there was a choice
    except (OSError, *jsontext.WRONG_SHAPE):
        return  # another's dataset, or none: whoever reads it says so
    wanted = {key.rpartition(".")[2]: value for key, value in build.items()}
    for name in ("limit", "variants", "seed", *DRAWING_SHARES, "split_by"):
        if name in wanted and (wanted[name] or 0) != (report.get(name) or 0):
            raise UserError(
                f"config.data.build.{name} is {wanted[name]}, and {folder} is there already, "
                f"built with {report.get(name)}: leave it out, or choose another config.data.dir"
            )
