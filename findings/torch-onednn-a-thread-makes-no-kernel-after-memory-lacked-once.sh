#!/usr/bin/env bash
# torch 2.15.0 on a CPU: a thread in which memory lacked for one kernel of oneDNN makes no kernel again, however much is free.
#
# A convolution of float32 runs in oneDNN, which writes a kernel for each new shape into memory that it maps. With none left torch
# raises RuntimeError("could not create a primitive"), which does not speak of memory: the same words stand for a shape that has no
# kernel at all, and where a tensor is what memory lacks for they are "DefaultCPUAllocator: can't allocate memory". From then on
# every convolution of a new shape ends so in this thread, of one small image too and with all memory back; shapes that have a
# kernel already still run, and another thread runs all of them. So code that halves its batch when memory lacks, as is usual, goes
# down to one image and ends, and a service fails on some sizes of image until it is started anew.
#
# Pixlake takes such an error for a lack of memory, and runs the smaller passes in another thread:
# operators/models/towers/kernel_thread.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'P'
import resource
import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn.functional import conv2d

torch.set_num_threads(1)
print("torch", torch.__version__)
WEIGHT = torch.zeros(64, 64, 3, 3).to(memory_format=torch.channels_last)


def convolve(images, side):
    try:
        conv2d(torch.zeros(images, 64, side, side).to(memory_format=torch.channels_last), WEIGHT)
    except RuntimeError as error:
        return str(error).splitlines()[0][:80]
    return "runs"


def with_little_memory(images, side):
    """Tensors find room in what the process holds free; nothing more can be mapped."""
    room = [torch.empty(100_000, dtype=torch.uint8) for _ in range(200)]
    above = torch.empty(100_000, dtype=torch.uint8)
    del room
    held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held, limits[1]))
    told = convolve(images, side)
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    return told


seen = {
    "4 images of 16 pixels, before": convolve(4, 16),
    "8 of 16, little memory": with_little_memory(8, 16),
    "8 of 16, all memory": convolve(8, 16),
    "1 of 24, all memory": convolve(1, 24),
    "4 of 16, all memory": convolve(4, 16),
}
with ThreadPoolExecutor(1) as other:
    seen["8 of 16, another thread"] = other.submit(convolve, 8, 16).result()
seen["8 of 16, the first thread"] = convolve(8, 16)
for what, told in seen.items():
    print(f"{what}: {told}")
no_kernel = "could not create a primitive"
expected = ["runs", no_kernel, no_kernel, no_kernel, "runs", "runs"]
# Once the other thread has made this kernel, it is there for all.
sys.exit(0 if list(seen.values())[:-1] == expected else "changed")
P
