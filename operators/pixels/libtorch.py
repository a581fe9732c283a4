"""torch's antialiased resize of uint8 pixels, called through the stable C interface of its library.

A process that decodes needs this one kernel of torch: `import torch` costs it 2.5 s of CPU and 520 MB, loading the
library alone 0.3 s and 120 MB. The interface is declared in `torch/csrc/stable/c/shim.h` of the installed package.
"""

import ctypes
import importlib.util
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np

_ABI = 2 << 56 | 13 << 48
"""The version of the interface that these calls follow, torch 2.13: a later torch adapts the operator's arguments."""
_OPERATORS = {"bilinear": b"aten::_upsample_bilinear2d_aa", "bicubic": b"aten::_upsample_bicubic2d_aa"}
_SIZES, _SIZE = c_int64 * 4, c_int64 * 2
_DECLARED = {
    "aoti_torch_dtype_uint8": (),
    "aoti_torch_device_type_cpu": (),
    "aoti_torch_create_tensor_from_blob": (
        *(c_void_p, c_int64, POINTER(c_int64), POINTER(c_int64), c_int64, c_int32, c_int32, c_int32),
        POINTER(c_void_p),
    ),
    "aoti_torch_delete_tensor_object": (c_void_p,),
    "torch_new_list_reserve_size": (c_size_t, POINTER(c_void_p)),
    "torch_list_push_back": (c_void_p, c_uint64),
    "torch_new_stable_ivalue": (POINTER(c_void_p),),
    "torch_call_dispatcher": (c_char_p, c_char_p, POINTER(c_uint64), c_uint64),
}
"""Function -> the types of its arguments; each gives an int32."""


def resample(
    pixels: np.ndarray, height: int, width: int, interpolation: str, source: tuple[float, float] | None = None
) -> np.ndarray:
    """(H, W, 3) uint8, C-contiguous, resized to (height, width, 3) as `torch.nn.functional.interpolate` does with
    `antialias=True`, bit for bit. `interpolation` is "bilinear" or "bicubic". `source`: (height, width), in pixels from
    the first one on, of what is resized, where that is not all of the last row or column.

    Thread-safe, and other Python threads run meanwhile. Raises `RuntimeError` with torch's words, as when memory does
    not suffice.
    """
    library = _library()
    out = np.empty((height, width, 3), np.uint8)
    # self, output_size, align_corners, scales_h, scales_w, out: the call takes what they own, and gives back a tensor.
    scales = (0, 0) if source is None else (_float(library, height / source[0]), _float(library, width / source[1]))
    stack = (c_uint64 * 6)(_tensor(library, pixels), _list(library, height, width), 0, *scales, _tensor(library, out))
    _check(library, library.torch_call_dispatcher(_OPERATORS[interpolation], b"out", stack, _ABI))
    _check(library, library.aoti_torch_delete_tensor_object(stack[0]))
    return out


def _tensor(library: ctypes.CDLL, pixels_HWC: np.ndarray) -> int:
    """The handle of a tensor (1, 3, H, W) over the array's own memory, in torch's `channels_last`."""
    height, width, channels = pixels_HWC.shape
    tensor = c_void_p()
    made = library.aoti_torch_create_tensor_from_blob(
        pixels_HWC.ctypes.data,
        4,
        _SIZES(1, channels, height, width),
        _SIZES(pixels_HWC.nbytes, 1, width * channels, channels),
        0,
        library.aoti_torch_dtype_uint8(),
        library.aoti_torch_device_type_cpu(),
        0,
        byref(tensor),
    )
    _check(library, made)
    return tensor.value or 0


def _list(library: ctypes.CDLL, *values: int) -> int:
    made = c_void_p()
    _check(library, library.torch_new_list_reserve_size(len(values), byref(made)))
    for value in values:
        _check(library, library.torch_list_push_back(made, value))
    return made.value or 0


def _float(library: ctypes.CDLL, value: float) -> int:
    """An optional number that is there."""
    made = c_void_p()
    _check(library, library.torch_new_stable_ivalue(byref(made)))
    c_double.from_address(made.value or 0).value = value
    return made.value or 0


def _check(library: ctypes.CDLL, failed: int) -> None:
    if failed:
        what = library.torch_exception_get_what_without_backtrace()
        raise RuntimeError((what or b"").decode(errors="replace"))


@cache
def _library() -> ctypes.CDLL:
    library = _load()
    for name, arguments in _DECLARED.items():
        getattr(library, name).argtypes = arguments
    library.torch_exception_get_what_without_backtrace.restype = c_char_p
    return library


def _load() -> ctypes.CDLL:
    found = importlib.util.find_spec("torch")
    folders = (found and found.submodule_search_locations) or ()
    try:
        return ctypes.CDLL(str(Path(*folders, "lib", "libtorch_cpu.so")))
    except OSError:
        # The CUDA libraries that it names may lie where only torch's own search finds them, or it may lie elsewhere.
        import torch  # noqa: F401

        return ctypes.CDLL("libtorch_cpu.so")
