"""What all three phases share: the sizes, the data, the recipe's constants.

Sizes: `tiny` trains on two CPU cores in minutes, `small` in an afternoon, `mini` on one GPU within
an hour, `7b` is NotaGPT (score image → CLIP ViT-L/14-336 → MLP → Mistral-7B → text).  All are the
same code.
"""

from __future__ import annotations

from ml_collections import ConfigDict

SIZES = ("tiny", "small", "mini", "7b")

# One table says what trains (design decision 4): the first full match of a parameter's path wins,
# every parameter must match, every rule must apply.
CONNECTOR_ONLY = ((r"multi_modal_projector/.*", True), (r".*", False))
ALL_BUT_VISION = ((r"vision_tower/.*", False), (r".*", True))
EVERYTHING = ((r".*", True),)


def model(size: str) -> ConfigDict:
    """Architecture, in `nota_jax.models.config`'s fields; vocab_size 0 is the tokenizer's own."""
    vision = dict(image_size=336, hidden_act="quick_gelu", layer_norm_eps=1e-5, feature_layer=-2)
    vision |= dict(patches="all", most_patches=0)
    text = dict(rope_theta=1e6, rms_norm_eps=1e-5, sliding_window=0, tie_word_embeddings=False)
    if size == "tiny":
        # Patches of 56 px, 36 image tokens: few enough to find the header among them in minutes.
        vision |= dict(patch_size=56, hidden_size=128, intermediate_size=512)
        vision |= dict(num_hidden_layers=4, num_attention_heads=4)
        text |= dict(vocab_size=0, hidden_size=128, intermediate_size=384, num_hidden_layers=3)
        text |= dict(num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    elif size == "small":
        vision |= dict(patch_size=14, hidden_size=256, intermediate_size=768, feature_layer=-1)
        vision |= dict(num_hidden_layers=6, num_attention_heads=4)
        vision |= dict(patches="inked", most_patches=320)
        text |= dict(vocab_size=0, hidden_size=256, intermediate_size=640, num_hidden_layers=4)
        text |= dict(num_attention_heads=4, num_key_value_heads=4, head_dim=64)
    elif size == "mini":
        vision |= dict(patch_size=14, hidden_size=384, intermediate_size=1536)
        vision |= dict(num_hidden_layers=10, num_attention_heads=6)
        text |= dict(vocab_size=0, hidden_size=512, intermediate_size=1408, num_hidden_layers=7)
        text |= dict(num_attention_heads=8, num_key_value_heads=4, head_dim=64)
    else:
        vision |= dict(patch_size=14, hidden_size=1024, intermediate_size=4096)
        vision |= dict(num_hidden_layers=24, num_attention_heads=16)
        text |= dict(vocab_size=32064, hidden_size=4096, intermediate_size=14336)
        text |= dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8)
        text |= dict(head_dim=128)
    # kind: mlp2; mlp1 and resampler are the connector experiment's alternatives.
    connector = dict(kind="mlp2", num_queries=64, num_hidden_layers=2, num_attention_heads=8)
    remat = "full" if size == "7b" else "none"
    unroll = 4 if size in ("tiny", "small") else 1
    operands = "bfloat16" if size == "small" else ""
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
    tiny, paper = size == "tiny", size == "7b"
    c = ConfigDict()
    c.size, c.phase, c.seed = size, phase, 0
    c.run_dir = f"runs/{size}/phase{phase}"
    # Where the weights come from: the previous phase's run directory if it is there, else
    # `init_from` (a converted checkpoint or a Hugging Face directory), else random.
    c.previous = f"runs/{size}/phase{phase - 1}" if phase > 1 else ""
    c.init_from = "checkpoints/llava-mistral-7b" if paper else ""
    # Or from several runs, each of which has trained a part: (expression of paths, run directory).
    c.parts = ()
    c.model = model(size)
    # Folder of a Hugging Face fast tokenizer, or a run that has one; "" trains a byte-level BPE of
    # vocab_size entries on the dataset's training split.  The run keeps it in run_dir/tokenizer.
    c.tokenizer = "checkpoints/llava-mistral-7b" if paper else ""
    c.vocab_size = {"tiny": 1024, "small": 512}.get(size, 4096)
    c.chunks = "fine" if size == "small" else "notes"  # what its merges stay within

    c.data = ConfigDict()
    c.data.dir = f"data/{size}"
    # What is built where data.dir is not there yet: arguments of nota_jax.data.build.
    variants = {"tiny": 1, "small": 3}.get(size, 4)
    c.data.build = ConfigDict(dict(limit=3000 if tiny else 0, variants=variants))
    # No corpora: all of them; no workers: all cores.  What is shipped is trained without Essen's
    # tunes, which are for non-commercial use.
    free = ("oneills1850", "airdsAirs", "ryansMammoth", "miscFolk", "nottingham-dataset")
    c.data.build.update(dict(corpora=free if size == "small" else (), seed=0, workers=0))
    c.data.tasks, c.data.subtasks = (), ()  # no subtasks: all of them
    c.data.shares = ConfigDict()  # subtask: share of the pages that ask it, 1 where it is not named
    c.data.template, c.data.image_mode = "mistral_instruct", "pad"
    c.data.jitter = 0  # pixels by which training pictures are moved at random
    c.data.corrupt = 0.0  # share of the answers' tokens that the model is shown wrongly
    c.data.pictures = True  # False: rows of text alone, for the objective "text"
    c.data.batch_size = 0  # questions per optimizer step, over all devices
    c.data.accumulation = 1
    c.data.turns_per_row = 8  # as many as fit; 1 gives LLaVA's rows
    c.data.lengths = (1024, 2048)
    if size in ("tiny", "small"):
        c.data.lengths = (128, 256, 512) if tiny else (384, 512, 640, 704, 768, 832)
    # Each length shrinks to its longest row, rounded up; TPU's attention kernel wants 128s.
    c.data.length_multiple = 8 if size in ("tiny", "small") else 128
    c.data.threads = 2 if size in ("tiny", "small") else 8

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
    c.log_every, c.save_every, c.keep = 10, 200 if tiny else 500, 2
    c.profile = ()  # first and last step of a trace into RUN_DIR/profile, as (10, 13)
    # No split: training ends without an evaluation.
    c.eval = ConfigDict(dict(split="test", questions=240, max_new_tokens=512, batch_size=8))
    # Questions are always asked as in conversation: `plain` has no question and no end.
    c.eval.update(dict(temperature=0.0, top_p=1.0, template="mistral_instruct"))
    return c


def from_scratch(c: ConfigDict, *, learning_rate: float, **tiny) -> ConfigDict:
    """Adapts a phase to the sizes that start from random weights.

    There is nothing yet to freeze: a frozen random CLIP would be blind and a frozen random decoder
    mute.  So they train everything in every phase, at a learning rate for their size; `tiny` also
    takes the fields given by name, dots as double underscores.
    """
    if c.size == "7b":
        return c
    c.trainable = EVERYTHING
    c.data.template = "mistral_instruct"  # the decoder has yet to learn where an answer ends
    c.optim.learning_rate, c.optim.b2 = learning_rate, 0.98
    # White paper is the same large input at every pixel.  Kernels that are kept blind to it see ink
    # alone, and take steps that fit the thousands of pixels they add up (docs/results.md).
    kernel = r"vision_tower/embeddings/patch_embedding/.*"
    c.optim.center_rules = ((kernel, True), (r".*", False))
    c.optim.multiplier_rules = ((kernel, 0.15), (r".*", 1.0))
    c.optim.final, c.data.jitter = 0.1, 4
    if c.size == "tiny":
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in tiny.items()})
    return c


def from_parts(c: ConfigDict, **small) -> ConfigDict:
    """Adapts a phase to `small`, which starts from a tower that sees and a decoder that writes.

    Both were trained here (`configs/vision.py`, `configs/text.py`), as CLIP and Mistral were for
    the paper.  Phases 1 and 2 freeze the tower.  Phase 1 trains the decoder too where the paper
    trains the connector alone, because a decoder of text has no heads yet that look at a page.

    small: fields to set, dots as double underscores.
    """
    if c.size != "small":
        return c
    c.parts = (
        (r"(vision_tower|aids/symbols)/.*", f"runs/{c.size}/vision"),
        (r"language_model/.*", f"runs/{c.size}/text"),
    )
    c.tokenizer = f"runs/{c.size}/vision"
    c.objective, c.loss_weights = "reading", ConfigDict()
    c.aids.update(dict(gaze=0.5, address=0.2))
    c.trainable = ALL_BUT_VISION
    c.optim.center_rules, c.optim.multiplier_rules = ((r".*", False),), ((r".*", 1.0),)
    c.optim.learning_rate, c.optim.weight_decay, c.optim.final = 1e-3, 0.01, 0.05
    c.data.corrupt, c.data.jitter = 0.1, 7
    if c.phase == 3:  # all of it, the tower more slowly
        c.trainable, c.aids.symbols = EVERYTHING, 0.1
        kernel = r"vision_tower/embeddings/patch_embedding/.*"
        seeing = r"(vision_tower|aids/symbols)/.*"
        c.optim.multiplier_rules = ((kernel, 0.05), (seeing, 0.3), (r".*", 1.0))
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in small.items()})
    return c
