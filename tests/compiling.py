"""How programs are compiled in tests: in the least time.  Most of the suite's time is compilation
of small programs, which LLVM's passes would make faster, and nobody notices; XLA's own passes stay
as they are.
"""

from importlib.metadata import version

FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    # The emitters by way of MLIR take twice as long as those before them, which later versions
    # lack.
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
else:
    # Or with AVX-512 a function's value depends on how many are computed at once, by more than
    # the 1e-5 of a gradient that batches in pieces are held to.
    FLAGS += " --xla_cpu_enable_platform_dependent_math=false"
