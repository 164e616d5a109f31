"""What all three phases share: the sizes, the data, the recipe's constants.

Sizes: `tiny` trains on two CPU cores in minutes from parts that are shipped, `small` in an
afternoon from nothing, `mini` on one GPU within an hour, `7b` is NotaGPT (score image → CLIP
ViT-L/14-336 → MLP → Mistral-7B → text).  All are the same code.
"""

from __future__ import annotations

from ml_collections import ConfigDict

SIZES = ("tiny", "small", "mini", "7b")
ON_CPU = ("tiny", "small")  # made to be trained on two cores

# One table says what trains (design decision 4): the first full match of a parameter's path wins,
# every parameter must match, every rule must apply.
CONNECTOR_ONLY = ((r"multi_modal_projector/.*", True), (r".*", False))
ALL_BUT_VISION = ((r"vision_tower/.*", False), (r".*", True))
EVERYTHING = ((r".*", True),)


# Answers of a few tokens, beside which a page of ABC has hundreds.
SHORT_ANSWERS = {"key": 4.0, "title": 2.0, "composer": 2.0}


def model(size: str) -> ConfigDict:
    """Architecture, in `nota_jax.models.config`'s fields; vocab_size 0 is the tokenizer's own."""
    vision = dict(image_size=336, hidden_act="quick_gelu", layer_norm_eps=1e-5, feature_layer=-2)
    vision |= dict(patches="all", most_patches=0, heading="page")
    text = dict(rope_theta=1e6, rms_norm_eps=1e-5, sliding_window=0, tie_word_embeddings=False)
    if size == "tiny":
        vision |= dict(patch_size=14, hidden_size=192, intermediate_size=576, feature_layer=-1)
        vision |= dict(num_hidden_layers=4, num_attention_heads=4)
        text |= dict(vocab_size=0, hidden_size=192, intermediate_size=512, num_hidden_layers=3)
        text |= dict(num_attention_heads=3, num_key_value_heads=3, head_dim=64)
    elif size == "small":
        vision |= dict(patch_size=14, hidden_size=256, intermediate_size=768, feature_layer=-1)
        vision |= dict(num_hidden_layers=6, num_attention_heads=4)
        text |= dict(vocab_size=0, hidden_size=256, intermediate_size=640, num_hidden_layers=4)
        text |= dict(num_attention_heads=4, num_key_value_heads=4, head_dim=64)
    elif size == "mini":
        vision |= dict(patch_size=14, hidden_size=384, intermediate_size=1536, feature_layer=-1)
        vision |= dict(num_hidden_layers=10, num_attention_heads=6)
        text |= dict(vocab_size=0, hidden_size=512, intermediate_size=1408, num_hidden_layers=7)
        text |= dict(num_attention_heads=8, num_key_value_heads=4, head_dim=64)
    else:
        vision |= dict(patch_size=14, hidden_size=1024, intermediate_size=4096)
        vision |= dict(num_hidden_layers=24, num_attention_heads=16)
        text |= dict(vocab_size=32064, hidden_size=4096, intermediate_size=14336)
        text |= dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8)
        text |= dict(head_dim=128)
    if size != "7b":  # blank paper is not looked at
        vision |= dict(patches="inked", most_patches=320)
    if size in ("small", "mini"):  # titles and composers are read from a larger picture
        vision |= dict(heading="enlarged")
    # kind: mlp2; mlp1 and resampler are the connector experiment's alternatives.
    connector = dict(kind="mlp2", num_queries=64, num_hidden_layers=2, num_attention_heads=8)
    remat = "full" if size == "7b" else "none"
    unroll = 4 if size in ON_CPU else 1
    operands = "auto" if size in ON_CPU else ""  # bfloat16 where the CPU multiplies it
    computed = dict(remat=remat, attention="auto", unroll=unroll, operands=operands)
    return ConfigDict(dict(vision=vision, text=text, connector=connector, **computed))


def get_config(size: str, phase: int) -> ConfigDict:
    """A run's configuration before its phase says what trains, on what, and for how long.

    LLaVA's published recipe stands in where the paper is silent (global batch, warm-up 3 %,
    cosine, weight decay 0, bf16): a substitution, not the paper's figures.
    """
    size = size or "tiny"
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(SIZES)}")
    paper = size == "7b"
    c = ConfigDict()
    c.size, c.phase, c.seed = size, phase, 0
    c.run_dir = f"runs/{size}/phase{phase}"
    # Where the weights come from: the previous phase's run directory if it is there, else
    # `init_from` (a converted checkpoint or a Hugging Face directory), else random.
    c.previous = f"runs/{size}/phase{phase - 1}" if phase > 1 else ""
    c.init_from = "checkpoints/llava-mistral-7b" if paper else ""
    # But for parts that other runs have trained: (expression of paths, run directory).
    c.parts = ()
    c.model = model(size)
    # Folder of a Hugging Face fast tokenizer, or a run that has one; "" trains a byte-level BPE of
    # vocab_size entries on the dataset's training split.  The run keeps it in run_dir/tokenizer.
    c.tokenizer = "checkpoints/llava-mistral-7b" if paper else ""
    c.vocab_size = 512 if size in ON_CPU else 4096
    c.chunks = "notes" if paper else "fine"  # what its merges stay within

    c.data = ConfigDict()
    c.data.dir = f"data/{size}"
    # What is built where data.dir is not there yet: arguments of nota_jax.data.build.
    c.data.build = ConfigDict(dict(limit=0, variants=4, corpora=(), seed=0, workers=0))
    c.data.build.look_share = 0.0  # of the training drawings, how many look unlike Verovio's
    # How many have page numbers, footers, another tune's first line, marks by hand around them.
    c.data.build.surroundings = 0.0
    c.data.build.title_share = 0.0  # of the further drawings, how many get an invented title
    c.data.build.meter_share = 0.0  # of the further drawings, how many are in another meter
    # What keeps together, in training or held out: near-duplicates, or melodies by their hash.
    c.data.build.split_by = "clusters"
    # No corpora: all of them; no workers: all cores.
    if size == "tiny":
        # By hash, as what is shipped was trained: by clusters, tunes that it knows are held out.
        c.data.build.update(limit=2000, variants=1, split_by="hash")
    if size == "small":
        small_data(c)
    c.data.tasks, c.data.subtasks = (), ()  # no subtasks: all of them
    c.data.shares = ConfigDict()  # subtask: share of the pages that ask it, 1 where it is not named
    # Subtask: weight of its answers' tokens, 1 where it is not named.  region, task, corpus …:
    # {value: weight}, the proportions in which pages come.
    c.data.weights = ConfigDict()
    c.data.template, c.data.image_mode = "mistral_instruct", "pad"
    c.data.jitter = 0  # pixels by which training pictures are moved at random
    c.data.degrade = 0.0  # share of them that get faults of scanners and cameras
    c.data.letters = 0.0  # share of them that give way to pages of text, which ask nothing
    c.data.corrupt = 0.0  # share of the answers' notes and numbers that are shown wrongly
    c.data.misread = 0.0  # share of the labels that the objective "described" shows wrongly
    c.data.curriculum = 0  # steps in which rows grow from the shortest to the longest
    c.data.pictures = True  # False: rows of text alone, for the objective "text"
    c.data.batch_size = 0  # questions per optimizer step, over all devices
    c.data.accumulation = 1
    c.data.turns_per_row = 8  # as many as fit; 1 gives LLaVA's rows
    c.data.lengths = (1024, 2048) if paper else (384, 512, 640, 704, 768, 832)
    # Each length shrinks to its longest row, rounded up; TPU's attention kernel wants 128s.
    c.data.length_multiple = 8 if size in ON_CPU else 128
    c.data.threads = 2 if size in ON_CPU else 8

    c.trainable = EVERYTHING
    c.optim = ConfigDict(dict(learning_rate=0.0, warmup=0.03, final=0.0, weight_decay=0.0))
    c.optim.update(dict(clip_norm=1.0, b1=0.9, b2=0.999, eps=1e-8))
    c.optim.center_rules = ((r".*", False),)  # gradient centralization, by parameter
    c.optim.multiplier_rules = ((r".*", 1.0),)  # on the learning rate, by parameter
    c.epochs, c.steps = 1.0, 0  # steps > 0 wins over epochs
    # What training makes smaller (nota_jax.training.objectives), and its terms' factors.
    c.objective, c.loss_weights = "answers", ConfigDict(dict(answers=1.0))
    # Of the objective "reading": weights of what helps while training and is in no export.
    c.aids = ConfigDict(dict(gaze=0.0, address=0.0, symbols=0.0))
    c.loss_chunk = 256
    # -1: what is left; twice: fsdp inside a host (GPU) or slice (TPU), data over several of them
    c.mesh = ConfigDict(dict(data=-1, fsdp=-1, tensor=1))
    c.dtype = ""  # of compute; "": bfloat16 on accelerators, float32 on CPU
    c.log_every, c.save_every, c.keep = 10, 500, 2
    c.profile = ()  # first and last step of a trace into RUN_DIR/profile, as (10, 13)
    # No split: training ends without an evaluation.
    c.eval = ConfigDict(dict(split="test", questions=240, max_new_tokens=512, batch_size=8))
    # Questions are always asked as in conversation: `plain` has no question and no end.
    c.eval.update(dict(temperature=0.0, top_p=1.0, template="mistral_instruct"))
    c.eval.grammar = False  # True: transcriptions can only be canonical ABC
    c.eval.views = 1  # of each page, moved by a few pixels, that are read together; up to 8
    # Steps between two evaluations while training, on `sample` validation pages of each task, drawn
    # by the seed; the best stays beside the newest `keep` (docs/evaluation.md).  0: none.
    c.eval.every, c.eval.sample = 0, 16
    return c


def small_data(c: ConfigDict) -> None:
    """What is shipped is trained without Essen's tunes, which are for non-commercial use."""
    c.data.dir = "data/small"
    free = ("oneills1850", "airdsAirs", "ryansMammoth", "miscFolk", "nottingham-dataset")
    c.data.build.update(dict(limit=0, variants=4, corpora=free))
    c.data.build.update(dict(look_share=0.5, surroundings=0.1, title_share=0.7))
    c.data.build.split_by = "hash"  # the published figures' split


def own_recipe(c: ConfigDict) -> None:
    """What all trainings of the sizes below the paper's share."""
    c.data.template = "mistral_instruct"  # the decoder has yet to learn where an answer ends
    c.optim.learning_rate, c.optim.b2, c.optim.weight_decay = 1e-3, 0.98, 0.01
    c.optim.final, c.data.jitter = 0.05, 7


def look_at_the_page(c: ConfigDict, objective: str) -> None:
    """An objective with the aids that say where to look."""
    c.objective, c.loss_weights = objective, ConfigDict()
    c.aids.update(dict(gaze=0.5, address=0.2))
    c.data.weights.update(SHORT_ANSWERS)


def from_scratch(c: ConfigDict) -> ConfigDict:
    """Adapts a part's training to the sizes that have no CLIP and no Mistral to start from."""
    if c.size == "7b":
        return c
    if c.size == "tiny":
        small_data(c)  # its parts are shipped
    own_recipe(c)
    # White paper is the same large input at every pixel.  Kernels that are kept blind to it see ink
    # alone, and take steps that fit the thousands of pixels they add up (docs/results.md).
    kernel = r"vision_tower/embeddings/patch_embedding/.*"
    if c.objective == "symbols":
        c.optim.center_rules = ((kernel, True), (r".*", False))
        c.optim.multiplier_rules = ((kernel, 0.15), (r".*", 1.0))
    return c


def from_parts(c: ConfigDict, **sizes: dict) -> ConfigDict:
    """Adapts a phase to the sizes that start from a tower that sees and a decoder that writes.

    Both were trained here (`configs/vision.py`, `text.py`, `described.py`), as CLIP and Mistral
    were for the paper.  What trains is the paper's table in every phase; with the model train the
    heads of the aids, which are in no export.

    sizes: of each size, fields to set.
    """
    if c.size == "7b":
        return c
    if c.phase == 1:
        if c.size == "tiny":
            c.init_from = c.tokenizer = "checkpoints/tiny-parts"
        else:
            c.previous, c.tokenizer = f"runs/{c.size}/described", f"runs/{c.size}/vision"
        c.trainable = ((r"(multi_modal_projector|aids)/.*", True), (r".*", False))
    else:
        c.tokenizer = f"runs/{c.size}/phase1"
    own_recipe(c)
    look_at_the_page(c, "reading")
    c.data.corrupt = 0.1
    if c.phase == 3:  # all of it, the tower more slowly
        kernel = r"vision_tower/embeddings/patch_embedding/.*"
        seeing = r"vision_tower/.*"
        if c.size != "tiny":  # whose parts come without the heads that tell symbols
            c.aids.symbols, seeing = 0.1, r"(vision_tower|aids/symbols)/.*"
            c.parts = ((r"aids/symbols/.*", f"runs/{c.size}/vision"),)
            c.loss_weights.letter = 1.0  # titles are what it learns to read last
        c.optim.multiplier_rules = ((kernel, 0.05), (seeing, 0.3), (r".*", 1.0))
    c.update_from_flattened_dict(sizes.get(c.size, {}))
    return c
