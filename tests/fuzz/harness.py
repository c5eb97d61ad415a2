"""What the fuzz tests share: bytes that are nearly right, and hostile inputs tried in a process of their own.

The same examples are tried in each run. METERPIPE_FUZZ_SEED=NUMBER tries others, METERPIPE_FUZZ_EXAMPLES=NUMBER more.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st

SEED = os.environ.get("METERPIPE_FUZZ_SEED")
EXAMPLES = int(os.environ.get("METERPIPE_FUZZ_EXAMPLES", "150"))
MEMORY = 3 * 1024**3
"""Bytes of address space a hostile input may take, the libraries' own among them."""
SECONDS = 120
"""CPU seconds it may take, imports among them. Some take a few; what has no bound takes any number."""
CHECKOUT = Path(__file__).resolve().parents[2]


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Try a property on as many examples as asked for, the same ones unless there is a seed."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    rules = settings(
        max_examples=EXAMPLES, deadline=None, derandomize=SEED is None, database=None, suppress_health_check=checks
    )
    return rules(test if SEED is None else seed(int(SEED))(test))


@st.composite
def mutated(draw, corpus: Sequence[bytes]) -> bytes:
    """One of `corpus` with a few bits flipped, numbers replaced, pieces cut out, doubled or put elsewhere."""
    data = bytearray(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[at] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
            case 2:
                size = draw(st.sampled_from((1, 2, 4, 8)))
                number = draw(st.sampled_from((0, 1, -1, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))))
                data[at : at + size] = (number & (256**size - 1)).to_bytes(size, "little")
            case 3:
                del data[at : at + draw(st.integers(1, 64))]
            case 4:
                piece = data[at : at + draw(st.integers(1, 64))]
                data[at:at] = piece * draw(st.integers(1, 4))
            case 5:
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case 6:
                del data[at:]
    return bytes(data)


def near(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly bytes near those of `corpus`, at times any."""
    return st.one_of(mutated(corpus), mutated(corpus), mutated(corpus), st.binary(max_size=200))


def within_bounds(code: str) -> str:
    """Run Python `code` in a process with bounded memory and time; what it printed. It has to end by itself."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    # one thread each: pools of Arrow, Polars and BLAS reserve address space by the processor
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=os.environ | single,
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,  # of wall time: the machine may be busy
        preexec_fn=bound,
    )
    assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout[-500:]}{done.stderr[-3000:]}"
    return done.stdout
