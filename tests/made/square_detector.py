"""A Hugging Face object detector that finds the red square of an image, as a folder: weights set by hand, no training.

YOLOS over 32 x 32 patches of 8 pixels. The first block says of each patch whether it is red (1) or not (0). In the
second, each of five heads of attention of the detection token looks for one thing among all tokens: the red patch that
is furthest left, right, up and down, by a softmax so steep that it is a maximum, and whether there is any. The heads
behind turn these four numbers into the logits of centre and size, which they interpolate between all that are possible.

A large constant pattern in every token keeps layer norms from doing anything but scale.
"""

import math
from pathlib import Path

import torch

GRID, PATCH, WIDTH, HEADS = 32, 8, 384, 6
HEAD = WIDTH // HEADS
SMALL = 1e-3
"""What a signal of 1 is in a token, where the pattern is 1: a layer norm then scales by 1 to some millionths."""
RED, IS_RED, X, Y, LEFT, RIGHT, UP, DOWN, ANY = range(0, 18, 2)
"""Places of signals in a token; each has its negative behind it, so that the mean stays 0."""
FIRST = 18
"""Where the pattern begins."""
NORM = math.sqrt((WIDTH - FIRST) / WIDTH)
"""The deviation of a token, which as the weight of a layer norm makes it do nothing."""
STEP, MUCH = 12.0, 1000.0
"""Of the softmax: what one patch further counts, and what being red counts."""


def write_square_detector(folder: Path, *, tokens: int = 1) -> Path:
    """The folder, for `transformers:FOLDER`. Its one class is `square`; each of `tokens` finds the same square."""
    # Here and not at the top: 4 s of CPU in each of the processes that share the tests, of which one or two need it.
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    config = YolosConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=8,
        hidden_act="relu",
        image_size=[GRID * PATCH, GRID * PATCH],
        patch_size=PATCH,
        num_detection_tokens=tokens,
        use_mid_position_embeddings=False,
        layer_norm_eps=1e-12,
        id2label={0: "square"},
        label2id={"square": 0},
    )
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        _embed(model.vit.embeddings)
        for part in model.modules():
            if isinstance(part, torch.nn.LayerNorm):
                part.weight.fill_(NORM)
        _say_what_is_red(model.vit.encoder.layer[0])
        _look_for_edges(model.vit.encoder.layer[1])
        _read_boxes(model.bbox_predictor.layers)
        _read_class(model.class_labels_classifier.layers)
    model.save_pretrained(folder)
    side = {"height": GRID * PATCH, "width": GRID * PATCH}
    YolosImageProcessor(size=side, do_pad=False, do_normalize=False).save_pretrained(folder)
    return folder


def _embed(embeddings: torch.nn.Module) -> None:
    """A patch says how red it is, from 0 to 1, and where it is; all tokens have the pattern."""
    kernel = torch.tensor([1, -0.5, -0.5])[:, None, None].expand(3, PATCH, PATCH) * SMALL / PATCH**2
    kernels = embeddings.patch_embeddings.projection.weight
    kernels[RED], kernels[RED + 1] = kernel, -kernel
    places = embeddings.position_embeddings
    places[..., FIRST::2], places[..., FIRST + 1 :: 2] = 1, -1
    steps = torch.arange(GRID) * SMALL
    for signal, values in ((X, steps.repeat(GRID)), (Y, steps.repeat_interleave(GRID))):
        places[0, 1 : 1 + GRID**2, signal], places[0, 1 : 1 + GRID**2, signal + 1] = values, -values


def _say_what_is_red(block: torch.nn.Module) -> None:
    """0 up to 0.33, 1 from 0.43: red (220, 20, 30) is 0.76, so that half a patch of it counts."""
    block.intermediate.dense.weight[:2, RED] = 10 / SMALL
    block.intermediate.dense.bias[:2] = torch.tensor([-3.3, -4.3])
    for row, sign in ((IS_RED, SMALL), (IS_RED + 1, -SMALL)):
        block.output.dense.weight[row, :2] = torch.tensor([sign, -sign])


def _look_for_edges(block: torch.nn.Module) -> None:
    looks = block.attention.attention
    wanted = ((LEFT, X, -STEP), (RIGHT, X, STEP), (UP, Y, -STEP), (DOWN, Y, STEP), (ANY, IS_RED, 0.0))
    for head, (signal, source, step) in enumerate(wanted):
        place = head * HEAD
        looks.query.bias[place] = math.sqrt(HEAD)
        looks.key.weight[place, source] = step / SMALL
        looks.key.weight[place, IS_RED] += MUCH / SMALL
        looks.value.weight[place, source] = 1
        written = block.attention.output.dense.weight
        written[signal, place], written[signal + 1, place] = 1, -1


def _read_boxes(layers: torch.nn.ModuleList) -> None:
    """Centre x, centre y, width, height as logits, interpolated between whole patches with a rectifier at each."""
    unit = 0
    for out, (first, last, sign) in enumerate(((LEFT, RIGHT, 1), (UP, DOWN, 1), (LEFT, RIGHT, -1), (UP, DOWN, -1))):
        count = 2 * GRID - 1 if sign == 1 else GRID
        fractions = (torch.arange(count) + 1.0) / (2 * GRID if sign == 1 else GRID)
        logits = torch.logit(fractions, eps=1e-4)
        slopes = logits.diff()
        units = slice(unit, unit + count - 1)
        layers[0].weight[units, first], layers[0].weight[units, last] = sign / SMALL, 1 / SMALL
        layers[0].bias[units] = -torch.arange(count - 1.0)
        layers[2].weight[out, units] = torch.cat([slopes[:1], slopes.diff()])
        layers[2].bias[out] = logits[0]
        unit += count - 1
    layers[1].weight.copy_(torch.eye(WIDTH))


def _read_class(layers: torch.nn.ModuleList) -> None:
    """The square's logit is 10 where there is red, else -10, and that of no object is 0."""
    layers[0].weight[0, ANY] = 1 / SMALL
    layers[1].weight[0, 0] = 1
    layers[2].weight[0, 0], layers[2].bias[0] = 20, -10
