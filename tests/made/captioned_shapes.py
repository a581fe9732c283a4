"""Pictures of one coloured shape each with their captions, and a small CLIP that tells the colours apart.

Both towers stay as they are drawn by chance but for the last layer of the image tower, CLIP's ResNet: a ridge
regression puts the pictures of a caption where its words are, in a second of one core. Training both takes half a
minute.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image, ImageDraw
from safetensors.torch import save_file

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 70, 220),
    "yellow": (230, 210, 50),
    "black": (20, 20, 20),
    "white": (235, 235, 235),
    "purple": (150, 50, 190),
    "cyan": (40, 200, 220),
}
SHAPES = ("circle", "square", "triangle", "cross")
CAPTIONS = [f"a {colour} shape" for colour in COLOURS]

SIDE = 48
CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
MEAN, STD = 0.5, 0.25


def draw(caption: str, rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    """A shape at a random place and of a random size, its colour a little off, on a background of noise."""
    colour, shape = caption.split()[1], rng.choice(SHAPES)
    noise = rng.normal(rng.integers(60, 200), 12, (side, side, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise)
    radius = rng.uniform(0.2, 0.34) * side
    x, y = rng.uniform(radius, side - radius, 2)
    fill = tuple(int(v) for v in (np.array(COLOURS[colour]) + rng.integers(-20, 21, 3)).clip(0, 255))
    pen, third = ImageDraw.Draw(image), radius / 3
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
    elif shape == "square":
        half = radius * 0.85
        pen.rectangle((x - half, y - half, x + half, y + half), fill)
    elif shape == "triangle":
        pen.polygon([(x + radius * math.sin(a), y - radius * math.cos(a)) for a in (0, 2.094, 4.189)], fill)
    else:
        pen.rectangle((x - radius, y - third, x + radius, y + third), fill)
        pen.rectangle((x - third, y - radius, x + third, y + radius), fill)
    return image


def fit(pictures: int = 1024, seed: int = 0) -> CLIP:
    """A CLIP whose pictures are nearest to the words of their own caption."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = CLIP(**CONFIG)
    labels = np.arange(pictures) % len(CAPTIONS)
    pixels = np.stack([np.asarray(draw(CAPTIONS[label], rng)) for label in labels])
    batches = ((torch.from_numpy(pixels).float().permute(0, 3, 1, 2) / 255 - MEAN) / STD).split(128)
    last = model.visual.attnpool.c_proj
    with torch.no_grad():
        # What batch normalisation takes for usual.
        for batch in batches[:4]:
            model.train().encode_image(batch)
        words = model.eval().encode_text(SimpleTokenizer(context_length=16)(CAPTIONS), normalize=True)
        model.visual.attnpool.c_proj = passing_on(last.in_features)
        features = torch.cat([model.encode_image(batch) for batch in batches])
        model.visual.attnpool.c_proj = last
        # Where the words of one caption are, and those of no other.
        places = torch.nn.functional.normalize(torch.linalg.pinv(words).T, dim=-1)[labels]
        centre = features.mean(0)
        centred = features - centre
        ridge = 0.01 * pictures * torch.diag(centred.var(0))
        weights = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ places)
        last.weight.copy_(weights.T)
        last.bias.copy_(-(centre @ weights))
    return model


def passing_on(size: int) -> torch.nn.Linear:
    """A layer that gives what it is given."""
    layer = torch.nn.Linear(size, size)
    layer.weight.copy_(torch.eye(size))
    layer.bias.zero_()
    return layer


def save(model: CLIP, folder: Path) -> None:
    """As open_clip itself keeps a model in a folder."""
    preprocess = {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
