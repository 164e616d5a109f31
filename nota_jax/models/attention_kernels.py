"""Flash attention of the accelerators' makers, for turns that share a prefix.

Neither kernel knows "the prefix and my own turn" by itself.  A turn could be cut into a part over
the prefix and a part over itself that are joined by their log-sum-exp, but in jax 0.10.2 cuDNN's
interface ignores gradients of the log-sum-exp and splash's refuses them, so the join could not be
trained.  Both do take a mask, and give exact gradients with it: cuDNN as a bias that is shared by
the heads, beside its causal mode that leaves out what is above the diagonal; splash as blocks, of
which empty ones are skipped.
"""

from __future__ import annotations

import jax
import jax.extend
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from nota_jax.models.layers import ROW_AXES

SPLASH_BLOCK = 128  # the smallest that Mosaic tiles; a row's length is a multiple
WIDE_BLOCK = 512  # where it divides the length: fewer steps of the grid


def compiled_for(platform: str) -> str:
    """ "cpu", "gpu" or "tpu"; "" stands for this process's."""
    return platform or jax.default_backend()


def best(q: jax.Array, k: jax.Array, *, by_turns: bool, platform: str = "") -> str | None:
    """The kernel for these operands on a platform: "cudnn", "splash" or None.

    by_turns: whether a mask comes with them.
    """
    if why_not_cudnn(q, k, platform=platform) is None:
        return "cudnn"
    # XLA's partitioner does not shard Mosaic's kernels: several devices need the ambient mesh.
    # A program that was given one, be it of one device, says by it what it runs on.
    known = not jax.sharding.get_abstract_mesh().empty or jax.device_count() == 1
    on_tpu = compiled_for(platform) == "tpu"
    if on_tpu and by_turns and known and why_not_splash(q, k) is None:
        return "splash"
    return None


def why_not_cudnn(q: jax.Array, k: jax.Array, *, platform: str = "") -> str | None:
    """What keeps cuDNN from these operands, as the end of a sentence; None if nothing does."""
    if compiled_for(platform) != "gpu" or _has_other_gpus():
        return "there is no NVIDIA device"
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"it computes in bfloat16 or float16, not {q.dtype}"
    if q.shape[-1] % 8 or q.shape[-1] > 128:
        return f"a head has {q.shape[-1]} dimensions; it takes multiples of 8 up to 128"
    # cuDNN asks for it with a mask, jax 0.10.2 wherever there is a gradient.
    if q.shape[1] % 2 or k.shape[1] % 2:
        return f"rows have {q.shape[1]} tokens; with gradients it takes even numbers"
    return None


def _has_other_gpus() -> bool:
    """Whether this process's own devices are GPUs of another maker."""
    here = jax.extend.backend.get_backend()
    return here.platform == "gpu" and "cuda" not in here.platform_version.lower()


def why_not_splash(q: jax.Array, k: jax.Array) -> str | None:
    """The same for splash attention."""
    if q.shape[1] != k.shape[1] or q.shape[1] % SPLASH_BLOCK:
        return f"rows have {q.shape[1]} tokens; it takes multiples of {SPLASH_BLOCK}"
    if q.shape[-1] % 64:
        return f"a head has {q.shape[-1]} dimensions; it takes multiples of 64"
    return None


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> jax.Array:
    """cuDNN's flash attention; arguments as in `attention`, mask a causal one or None."""
    return jax.nn.dot_product_attention(
        q, k, v, mask=mask, is_causal=mask is not None, implementation="cudnn"
    )


def splash(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, *, interpret: bool = False
) -> jax.Array:
    """Pallas's splash attention; each device computes its own rows and heads.

    mask: bool [B, 1, T, T] in which every token sees at least itself.
    interpret: run the kernel's code in XLA, on any device.
    """
    mesh = _mesh()
    if mesh is None:
        return _splash(q, k, v, mask, interpret)
    tensor = mesh.shape.get("tensor", 1)
    heads = "tensor" if tensor > 1 and k.shape[2] % tensor == 0 else None
    of_heads = P(ROW_AXES, None, heads)
    return jax.shard_map(
        lambda *operands: _splash(*operands, interpret),
        in_specs=(of_heads, of_heads, of_heads, P(ROW_AXES)),
        out_specs=of_heads,
        check_vma=False,  # pallas_call does not say how its results vary
    )(q, k, v, mask)


def _mesh() -> jax.sharding.AbstractMesh | None:
    """The ambient mesh if it cuts rows over several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if set(ROW_AXES) <= set(mesh.axis_names) and mesh.size > 1 else None


def _splash(q, k, v, mask, interpret):
    # Imported late: it is TPU's, and takes a while.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels

    batch, length, heads, dim = q.shape
    groups, group = k.shape[2], heads // k.shape[2]
    block = WIDE_BLOCK if length % WIDE_BLOCK == 0 else SPLASH_BLOCK
    blocks = kernels.BlockSizes(
        block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block,
        block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip

    def of_row(q, k, v, mask):  # [K, G, T, D], [K, T, D], [K, T, D], [T, T]
        attend = kernels.make_splash_mqa(
            jnp.broadcast_to(mask, (group, length, length)),
            block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret,
        )  # fmt: skip
        # A flag that only names the profile's scope; under jit, jax 0.10.2 has made it an array
        # and then asks it for its truth.
        for part in ("fwd_mask_info", "dq_mask_info", "dkv_mask_info"):
            setattr(attend, part, getattr(attend, part)._replace(is_dynamic_mask=None))
        return jax.vmap(attend)(q, k, v)

    q = (q * dim**-0.5).reshape(batch, length, groups, group, dim).transpose(0, 2, 3, 1, 4)
    out = jax.vmap(of_row)(q, k.swapaxes(1, 2), v.swapaxes(1, 2), mask[:, 0])
    return out.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, dim)
