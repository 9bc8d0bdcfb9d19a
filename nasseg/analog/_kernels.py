"""Compiled elementwise kernels of the analog layers for float32 tensors on the CPU.

On feature maps, and on weights as a memory holds them.

What a tile does to a feature map before and after the convolution is a dozen elementwise steps.
Step by step in torch each is a pass over memory, and normal deviates cost more than the
convolution; here each side is one pass.

Numba compiles them without a C compiler. They run on the worker threads that torch has already
started: OpenMP workers spin for milliseconds between two torch operations, so that a second pool
would wait for cores that idle.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-call, no-untyped-def, no-any-return"

from __future__ import annotations

import ctypes
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import torch
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

_u32, _u64, _i32, _f32 = np.uint32, np.uint64, np.int32, np.float32

LANE = 256
CHUNK = 4 * LANE
"""Normal deviates drawn at a time; they stay in the first-level cache."""
_ROUNDS = 7
"""Of Philox4x32: the fewest that pass the BigCrush tests (Salmon et al., SC 2011)."""
_MASK = _u64(0xFFFFFFFF)
_MUL0, _MUL1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_ADD0, _ADD1 = _u64(0x9E3779B9), _u64(0xBB67AE85)
_HIGH = _u64(32)


def _log_coefficients() -> tuple[np.float32, ...]:
    """Of a polynomial for -2 ln(m), m from 1 to 2; its error is below 2e-6."""
    m = np.linspace(1.0, 2.0, 20_001)
    fit = np.polynomial.Chebyshev.fit(m, -2 * np.log(m), 7)
    return tuple(_f32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


def _sine_coefficients() -> tuple[np.float32, ...]:
    """Of a polynomial in a * a for sin(2 pi a) / a, a from 0 to 1/4; its error is below 1e-7."""
    a = np.linspace(1e-3, 0.25, 20_001)
    fit = np.polynomial.Chebyshev.fit(a * a, np.sin(2 * np.pi * a) / a, 4)
    return tuple(_f32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = _log_coefficients()
_S0, _S1, _S2, _S3, _S4 = _sine_coefficients()
_LN4 = _f32(2 * np.log(2.0))


@njit(inline="always")
def _sine(a):
    """sin(2 pi a) for a from 0 to 1/4, elementwise."""
    square = a * a
    return ((((_S4 * square + _S3) * square + _S2) * square + _S1) * square + _S0) * a


@njit(fastmath={"nnan", "nsz", "contract"})
def _normal_chunk(bits, work, floats, out, chunk, key):
    """Fill ``out`` (CHUNK) with standard normal deviates that (chunk, key) decides.

    Philox4x32 for the bits, Box and Muller for the deviates. Loops are kept apart and plain for
    the vectoriser; ``floats`` shows the memory of ``work`` as float32.
    """
    low, high = _u64(chunk) & _MASK, _u64(chunk) >> _HIGH
    for i in range(LANE):
        c0, c1, c2, c3 = _u64(i), low, high, _u64(0)
        k0, k1 = _u64(key) & _MASK, _u64(key) >> _HIGH
        for _ in range(_ROUNDS):
            p0, p1 = _MUL0 * c0, _MUL1 * c2
            c0, c1, c2, c3 = (
                (p1 >> _HIGH) ^ c1 ^ k0,
                p1 & _MASK,
                (p0 >> _HIGH) ^ c3 ^ k1,
                p0 & _MASK,
            )
            k0, k1 = (k0 + _ADD0) & _MASK, (k1 + _ADD1) & _MASK
        bits[i] = c0
        bits[LANE + i] = c1
        bits[2 * LANE + i] = c2
        bits[3 * LANE + i] = c3
    pairs = 2 * LANE
    for i in range(pairs):
        work[i] = (bits[i] >> _u32(9)) | _u32(0x3F800000)
    for i in range(pairs):
        floats[i] = _f32(2) - floats[i]  # uniform above 0, at most 1: never the log of 0
    for i in range(pairs):
        exponent = _i32(work[i] >> _u32(23)) - _i32(127)
        out[i] = _f32(exponent)
        work[i] = (work[i] & _u32(0x7FFFFF)) | _u32(0x3F800000)
    for i in range(pairs):
        m = floats[i]
        log = ((((((_L7 * m + _L6) * m + _L5) * m + _L4) * m + _L3) * m + _L2) * m + _L1) * m + _L0
        radius = np.sqrt(max(log - out[i] * _LN4, _f32(0)))
        turn = _f32(_i32(bits[pairs + i])) * _f32(2.0**-32)  # -1/2 to 1/2
        half = abs(turn)
        sine = _sine(min(half, _f32(0.5) - half))
        cosine = _f32(0.25) - half
        size = _sine(abs(cosine))
        out[i] = radius * (size if cosine >= 0 else -size)
        out[pairs + i] = radius * (sine if turn >= 0 else -sine)


# ----------------------------------------------------------------------------------------------
# The worker threads of torch.


_ENTRIES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch has loaded, if it has GNU's entry points."""
    found = []
    try:
        for line in Path("/proc/self/maps").read_text().splitlines():
            name = line.split(maxsplit=5)[-1]
            if "libgomp" in name and name not in found:
                found.append(name)
    except OSError:  # not Linux
        return None
    # Other packages bring runtimes of their own, each with its own pool of threads.
    home = Path(torch.__file__).resolve().parent
    homes = (f"{home}/", f"{home.parent}/torch.libs/")
    own = [name for name in found if name.startswith(homes)]
    for name in own:
        library = ctypes.CDLL(name)
        if all(hasattr(library, name) for name in _ENTRIES):
            library.GOMP_parallel.argtypes = [
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_uint,
                ctypes.c_uint,
            ]
            library.GOMP_parallel.restype = None
            return library
    return None


_library = _openmp()


def shares_threads() -> bool:
    """Whether the kernels run on torch's worker threads; on one thread otherwise."""
    return _library is not None


@cfunc(types.int32())
def _never():
    """Stands in where there is no runtime; a single thread asks for nothing."""
    return 0


def _runtime_function(symbol: str, name: str):
    address = _never.address
    if _library is not None:
        address = ctypes.cast(getattr(_library, name), ctypes.c_void_p).value
    llvm.add_symbol(symbol, address)
    return types.ExternalFunction(symbol, types.int32())


_thread_number = _runtime_function("nasseg_thread_number", "omp_get_thread_num")
_thread_count = _runtime_function("nasseg_thread_count", "omp_get_num_threads")
_GRAIN = 8192
"""Elements a thread; a smaller map is done by one thread."""
_worker = types.void(types.voidptr)


@intrinsic
def _pointer(typing, address):
    """An integer as the address that it is."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), generate


def _run(kernel, job: np.ndarray, elements: int) -> None:
    """Call a kernel on its job, on as many threads as torch would use."""
    job[0] = max(1, min(torch.get_num_threads(), elements // _GRAIN))
    if _library is None:
        job[0] = 1
    threads = int(job[0])
    if _library is not None and threads > 1:
        _library.GOMP_parallel(kernel.address, job.ctypes.data, threads, 0)
    else:
        kernel.ctypes(job.ctypes.data)


@njit(inline="always")
def _share(job, count):
    """This thread's part of ``count`` items: first, last + 1.

    The runtime may give fewer threads than were asked for.
    """
    threads, number = np.int64(1), np.int64(0)
    if job[0] > 1:
        threads, number = np.int64(_thread_count()), np.int64(_thread_number())
    return count * number // threads, count * (number + 1) // threads


# ----------------------------------------------------------------------------------------------
# Input side. A job is an int64 array: threads, addresses, sizes; a float32 array of settings.


_FAST = {"nnan", "nsz", "contract"}
"""What the vectoriser may assume. Not that a division is a multiplication by the reciprocal: the
order and kind of AIHWKit's operations are kept, so that rounding meets the same ties."""


@njit(fastmath=_FAST, error_model="numpy")
def _round_part(x, out, bound, divisor, step):
    for i in range(out.size):
        out[i] = np.rint(min(max(x[i], -bound), bound) / divisor / step) * step


@njit(fastmath=_FAST, error_model="numpy")
def _clamp_part(x, out, bound, divisor):
    for i in range(out.size):
        out[i] = min(max(x[i], -bound), bound) / divisor


@njit(fastmath=_FAST, error_model="numpy")
def _backward_part(x, grad, bound, divisor):
    for i in range(grad.size):
        grad[i] = grad[i] / divisor if abs(x[i]) <= bound else _f32(0)


@njit(error_model="numpy")
def _each_part(job, backward):
    settings = carray(_pointer(job[7]), 3, np.float32)
    bound, divisor, step = settings[0], settings[1], settings[2]
    samples, size, stride = job[3], job[4], job[5]
    x = carray(_pointer(job[1]), (samples - 1) * stride + size, np.float32)
    other = carray(_pointer(job[2]), samples * size, np.float32)
    first, last = _share(job, samples * size)
    at = first
    while at < last:
        sample = at // size
        stop = min(last, (sample + 1) * size)
        shift = sample * stride - sample * size
        part = x[shift + at : shift + stop]
        if backward:
            _backward_part(part, other[at:stop], bound, divisor)
        elif step > 0:
            _round_part(part, other[at:stop], bound, divisor, step)
        else:
            _clamp_part(part, other[at:stop], bound, divisor)
        at = stop


@cfunc(_worker, cache=True)
def _quantise(address):
    _each_part(carray(address, 8, np.int64), False)


@cfunc(_worker, cache=True)
def _quantise_backward(address):
    _each_part(carray(address, 8, np.int64), True)


def _input_job(x: torch.Tensor, other: torch.Tensor, settings: np.ndarray) -> np.ndarray:
    """Job for ``x``, whose samples are contiguous but may lie apart, and a contiguous tensor."""
    samples = x.shape[0]
    return np.array(
        [
            1,
            x.data_ptr(),
            other.data_ptr(),
            samples,
            x.numel() // samples,
            x.stride(0) if samples > 1 else 0,
            0,
            settings.ctypes.data,
        ],
        dtype=np.int64,
    )


def quantise(x: torch.Tensor, bound: float, divisor: float, step: float) -> torch.Tensor:
    """Clamp to +-bound, divide, round to multiples of ``step`` (not at 0); a new tensor."""
    out = torch.empty(x.shape, dtype=torch.float32, device="cpu")
    settings = np.array([bound, divisor, step], dtype=np.float32)
    _run(_quantise, _input_job(x, out, settings), out.numel())
    return out


def quantise_backward_(
    grad: torch.Tensor, x: torch.Tensor, bound: float, divisor: float
) -> torch.Tensor:
    """Straight-through gradient of :func:`quantise`, in place on a contiguous ``grad``."""
    settings = np.array([bound, divisor, 0.0], dtype=np.float32)
    _run(_quantise_backward, _input_job(x, grad, settings), grad.numel())
    return grad


# ----------------------------------------------------------------------------------------------
# Output side.


@njit(fastmath=_FAST, error_model="numpy")
def _levels(y, draw, noise, step):
    """Add the noise; with a step, what the converter reads, in steps."""
    if step > 0:
        for i in range(y.size):
            y[i] = np.rint((y[i] + noise * draw[i]) / step)
    else:
        for i in range(y.size):
            y[i] += noise * draw[i]


@njit(fastmath=True, error_model="numpy")
def _largest(y):
    """The largest size; in any order, or it would not be vectorised."""
    top = _f32(0)
    for i in range(y.size):
        top = max(top, abs(y[i]))
    return top


@njit(error_model="numpy")
def _mark(y, limit, clipped):
    for i in range(y.size):
        clipped[i] = abs(y[i]) > limit


@njit(fastmath=_FAST, error_model="numpy")
def _scale_part(y, limit, step, factor, offset):
    for i in range(y.size):
        y[i] = min(max(y[i], -limit), limit) * step * factor + offset


@njit(fastmath=_FAST, error_model="numpy")
def _scale_each(y, limit, step, factors, offsets):
    for i in range(y.size):
        y[i] = min(max(y[i], -limit), limit) * step * factors[i] + offsets[i]


@cfunc(_worker, cache=True)
def _finish(address):
    job = carray(address, 11, np.int64)
    settings = carray(_pointer(job[10]), 3, np.float32)
    noise, step, limit = settings[0], settings[1], settings[2]
    count, pixels, columns, key = job[2], job[3], job[4], job[9]
    y = carray(_pointer(job[1]), count, np.float32)
    scale = carray(_pointer(job[5]), columns, np.float32)
    bias = carray(_pointer(job[6]), columns, np.float32)
    marking = job[7] != 0
    clipped = carray(_pointer(job[7]), count if marking else 0, np.uint8)
    found = carray(_pointer(job[8]), job[0], np.int64)
    bits, work = np.empty(CHUNK, _u32), np.empty(2 * LANE, _u32)
    floats, draw = work.view(np.float32), np.zeros(CHUNK, np.float32)
    first, last = _share(job, (count + CHUNK - 1) // CHUNK)
    any_clipped = 0
    unit = step if step > 0 else _f32(1)
    # Where the columns lie side by side, a chunk is their pattern over and over, begun anywhere.
    length = CHUNK + columns if pixels == 1 else 0
    factors, offsets = np.empty(length, np.float32), np.empty(length, np.float32)
    for i in range(length):
        factors[i], offsets[i] = scale[i % columns], bias[i % columns]
    for chunk in range(first, last):
        begin = chunk * CHUNK
        end = min(begin + CHUNK, count)
        if noise > 0:
            _normal_chunk(bits, work, floats, draw, chunk, key)
        _levels(y[begin:end], draw, noise, step)
        if marking and _largest(y[begin:end]) > limit:
            _mark(y[begin:end], limit, clipped[begin:end])
            any_clipped = 1
        if pixels == 1:
            start = begin % columns
            stop = start + end - begin
            _scale_each(y[begin:end], limit, unit, factors[start:stop], offsets[start:stop])
            continue
        at = begin
        while at < end:
            row = at // pixels
            stop = min(end, (row + 1) * pixels)
            _scale_part(y[at:stop], limit, unit, scale[row % columns], bias[row % columns])
            at = stop
    found[_thread_number() if job[0] > 1 else 0] = any_clipped


def finish_(
    y: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    pixels: int,
    noise: float,
    step: float,
    bound: float,
    key: int,
    mark: bool,
) -> torch.Tensor | None:
    """Noise, converter, scale and bias of an output, in place.

    Args:
        y: contiguous output; element i belongs to column ``i // pixels % columns``.
        scale: factor of each column.
        bias: offset of each column, added last.
        pixels: elements of a column that lie side by side.
        noise: standard deviation of the noise added first.
        step: of the converter; 0 = no rounding.
        bound: of the converter; infinity = none.
        key: decides the noise.
        mark: tell which elements the converter clipped.

    Returns:
        uint8, 1 where clipped; none where not asked for or nothing was clipped.
    """
    clipped = None
    if mark and bound < np.inf:
        # NumPy's zeros take no memory where they are not touched, and clipping is rare.
        clipped = torch.from_numpy(np.zeros(y.shape, dtype=np.uint8))
    # Bounds are a whole number of steps but for rounding in float.
    limit = round(bound / step) if step > 0 and bound < np.inf else bound
    settings = np.array([noise, step, limit], dtype=np.float32)
    found = np.zeros(max(1, torch.get_num_threads()), dtype=np.int64)
    job = np.array(
        [
            1,
            y.data_ptr(),
            y.numel(),
            pixels,
            scale.numel(),
            scale.data_ptr(),
            bias.data_ptr(),
            0 if clipped is None else clipped.data_ptr(),
            found.ctypes.data,
            key,
            settings.ctypes.data,
        ],
        dtype=np.int64,
    )
    _run(_finish, job, y.numel())
    return clipped if found.any() else None


_ONE = torch.ones(1, dtype=torch.float32, device="cpu")
_ZERO = torch.zeros(1, dtype=torch.float32, device="cpu")


def normal(shape: torch.Size, key: int) -> torch.Tensor:
    """Standard normal deviates, float32, that ``key`` decides."""
    out = torch.zeros(shape, dtype=torch.float32, device="cpu")
    finish_(
        out,
        _ONE,
        _ZERO,
        pixels=max(1, out.numel()),
        noise=1.0,
        step=0.0,
        bound=np.inf,
        key=key,
        mark=False,
    )
    return out


# ----------------------------------------------------------------------------------------------
# Weights: what a memory may make of them, by tables over their size.


@njit(inline="always")
def _place(weight, top, last):
    """Interval of a table and part of it."""
    place = (weight / top + _f32(1)) * (_f32(last) / _f32(2))
    below = min(max(_i32(place), _i32(0)), _i32(last - 1))
    return below, place - _f32(below)


@njit(inline="always")
def _between(row, below, part):
    return row[below] + part * (row[below + 1] - row[below])


@njit(fastmath={"nsz", "contract", "reassoc"}, error_model="numpy")
def _sum_part(weight, row, top):
    total = _f32(0)
    last = row.size - 1
    for i in range(weight.size):
        below, part = _place(weight[i], top, last)
        total += _between(row, below, part)
    return total


@njit(fastmath={"nsz", "contract"}, error_model="numpy")
def _disturb_part(weight, draw, means, sizes, top, factor, out):
    last = means.size - 1
    for i in range(weight.size):
        below, part = _place(weight[i], top, last)
        mean, size = _between(means, below, part), _between(sizes, below, part)
        out[i] = (draw[i] * size + mean) * factor


@cfunc(_worker, cache=True)
def _sum_weights(address):
    job = carray(address, 9, np.int64)
    count, levels = job[3], job[5]
    weight = carray(_pointer(job[1]), count, np.float32)
    table = carray(_pointer(job[4]), (4, levels), np.float32)
    top = carray(_pointer(job[8]), 2, np.float32)[0]
    chunks = (count + CHUNK - 1) // CHUNK
    # A sum a chunk: the total does not depend on the number of threads.
    sums = carray(_pointer(job[7]), (2, chunks), np.float32)
    first, last = _share(job, chunks)
    for chunk in range(first, last):
        part = weight[chunk * CHUNK : min((chunk + 1) * CHUNK, count)]
        sums[0, chunk] = _sum_part(part, table[2], top)
        sums[1, chunk] = _sum_part(part, table[3], top)


@cfunc(_worker, cache=True)
def _disturb_weights(address):
    job = carray(address, 9, np.int64)
    count, levels, key = job[3], job[5], job[6]
    weight = carray(_pointer(job[1]), count, np.float32)
    out = carray(_pointer(job[2]), count, np.float32)
    table = carray(_pointer(job[4]), (4, levels), np.float32)
    settings = carray(_pointer(job[8]), 2, np.float32)
    bits, work = np.empty(CHUNK, _u32), np.empty(2 * LANE, _u32)
    floats, draw = work.view(np.float32), np.empty(CHUNK, np.float32)
    first, last = _share(job, (count + CHUNK - 1) // CHUNK)
    for chunk in range(first, last):
        begin = chunk * CHUNK
        end = min(begin + CHUNK, count)
        _normal_chunk(bits, work, floats, draw, chunk, key)
        _disturb_part(
            weight[begin:end], draw, table[0], table[1], settings[0], settings[1], out[begin:end]
        )


def disturb(
    weight: torch.Tensor, table: np.ndarray, top: float, key: int, compensated: bool
) -> torch.Tensor:
    """Weights as a memory may hold them; a new tensor of the shape of ``weight``.

    Args:
        weight: contiguous target weights, all finite.
        table: (4, L) float32, contiguous, by weights from ``-top`` to ``top``: mean and deviation
            in units of ``top``, and the magnitudes that drift compensation reads at first and then.
        top: the largest size of a weight.
        key: decides the deviates.
        compensated: whether the ratio of the two sums of those magnitudes is undone.
    """
    out = torch.empty(weight.shape, dtype=torch.float32, device="cpu")
    settings = np.array([top, top], dtype=np.float32)
    sums = np.empty((2, -(-weight.numel() // CHUNK)), dtype=np.float32)
    job = np.array(
        [
            1,
            weight.data_ptr(),
            out.data_ptr(),
            weight.numel(),
            table.ctypes.data,
            table.shape[1],
            key,
            sums.ctypes.data,
            settings.ctypes.data,
        ],
        dtype=np.int64,
    )
    if compensated:
        _run(_sum_weights, job, weight.numel())
        before, now = sums.sum(axis=1, dtype=np.float64)
        settings[1] = top * before / max(now, 1e-7)
    _run(_disturb_weights, job, weight.numel())
    return out
