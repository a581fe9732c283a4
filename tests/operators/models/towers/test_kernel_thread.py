"""A thread in which memory has lacked for a kernel once embeds on, though oneDNN makes no kernel in it any more."""

import os
import subprocess
import sys
import textwrap

CODE = """
    import resource
    import numpy as np
    import torch
    from operators.models.runtime import Runtime
    from operators.models.towers.embedder import TorchEmbedder
    from operators.pixels.preprocess import Preprocess

    class Tower(torch.nn.Sequential):
        def forward(self, pixels_NCHW):
            sizes.append(len(pixels_NCHW))
            if first:
                first.pop()
                without_memory(lambda: super(Tower, self).forward(pixels_NCHW))
            return super().forward(pixels_NCHW).mean((2, 3))

    def without_memory(run):
        # Tensors find room in the heap, also those of the pass: nothing is left to be mapped.
        room = [torch.empty(100_000, dtype=torch.uint8) for _ in range(100)]
        above = torch.empty(100_000, dtype=torch.uint8)
        del room
        held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
        limits = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (held, limits[1]))
        try:
            run()
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, limits)

    first, sizes = [], []
    tower = Tower(torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 64, 3))
    preprocess = Preprocess.square_pixels(16, "squash")
    embedder = TorchEmbedder(tower, preprocess, Runtime(batch_size=8, num_threads=1))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    expected = np.concatenate([embedder.embed(pixels[row : row + 1]) for row in range(8)])
    first.append(True)
    sizes.clear()
    for count in (8, 7, 5):
        vectors = embedder.embed(pixels[:count])
        assert np.abs(vectors - expected[:count]).max() <= 1e-4 * np.abs(expected).max()
    assert sizes == [8, 4, 4, 4, 3, 4, 1], sizes
    try:
        with torch.inference_mode():
            tower(torch.zeros(9, 3, 16, 16).to(memory_format=torch.channels_last))
        print("kernels are made here again")
    except RuntimeError as error:
        print(error)
"""


def test_new_shapes_are_embedded_after_it_and_plain_torch_fails_on_them() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(CODE)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout == "could not create a primitive\n"
