"""Weights through the families: no network with local files, and one download from the hub for a driver and its actors.

All of it runs in one child process, which ends at once when it asks for an address that it may not: importing torch
and the libraries takes it seconds.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import timm
import torch
from timm.models import save_for_hf

from made.open_clip_folders import PREPROCESS, write_folder
from operators.models.resolve import WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import parse_model_name
from operators.models.warm import end_warm_process
from servers.hub import COMMIT, Hub, running_hub

WATCH = """
import os, sys

def watch(event, arguments):
    if forbidden and event.startswith("socket."):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else None
        if event == "socket.getaddrinfo" or isinstance(address, tuple):
            os.write(2, f"NETWORK: {event} {arguments}".encode())
            os._exit(77)

forbidden = True
sys.addaudithook(watch)
"""

EMBED = (
    WATCH
    + """
import numpy as np
from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, parse_model_name

described = []
for name in sys.argv[1:]:
    forbidden = "hf-hub:" not in name and "hf://" not in name
    described.append(describe(parse_model_name(name)))
forbidden = True
for each in described:
    # As it gets to a worker.
    model = ModelDescription.model_validate_json(each.model_dump_json())
    size = (2, model.preprocess.height, model.preprocess.width, 3)
    assert load_image_embedder(model, Runtime()).embed(np.zeros(size, np.uint8)).shape == (2, model.dim)
    if model.text:
        load_text_embedder(model).embed(["a cat"])
    print(model.weights_sha256, model.weights_uri)
"""
)


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("timm")
    save_for_hf(timm.create_model("test_vit"), folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("clip"), "clip", PREPROCESS)


class Done(NamedTuple):
    answers: list[list[str]]
    """[sha256, pinned uri] of each model."""
    requests: list[str]
    environment: dict[str, str]
    """Of the child: a cache with the weights, and a hub that is gone."""


@pytest.fixture(scope="module")
def done(timm_folder: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    names = [
        f"timm:test_vit@{timm_folder / 'model.safetensors'}",
        f"open_clip:local-dir:{clip_folder}",
        "timm:hf-hub:lab/tiny",
        "timm:test_vit@hf://lab/tiny/model.safetensors",
        "open_clip:hf-hub:lab/clip",
    ]
    folders = {"lab/tiny": timm_folder, "lab/clip": clip_folder}
    files = {f"{repo}/{file.name}": file.read_bytes() for repo, folder in folders.items() for file in folder.iterdir()}
    with running_hub(Hub(files=files, small={"config.json", "open_clip_config.json"})) as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path_factory.mktemp("hf"))}
        child = run(EMBED, *names, **environment)
    assert child.returncode == 0, child.stderr[-3000:]
    return Done([line.split() for line in child.stdout.splitlines()], hub.requests(), environment)


def run(code: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("HF_")}, **environment},
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_local_weights_open_no_connection(done: Done, timm_folder: Path, clip_folder: Path) -> None:
    files = [timm_folder / "model.safetensors", clip_folder / "open_clip_model.safetensors"]
    assert done.answers[:2] == [[sha256(file), str(file)] for file in files]


def test_the_watch_ends_a_process_that_connects() -> None:
    child = run(WATCH + "import socket\nsocket.create_connection(('127.0.0.1', 9))")
    assert (child.returncode, "NETWORK: socket." in child.stderr) == (77, True)


def test_a_driver_asks_the_hub_and_its_actors_do_not(done: Done, timm_folder: Path, clip_folder: Path) -> None:
    tiny, clip = sha256(timm_folder / "model.safetensors"), sha256(clip_folder / "open_clip_model.safetensors")
    assert done.answers[2:] == [
        [tiny, f"hf://lab/tiny/model.safetensors@{COMMIT}"],
        [tiny, f"hf://lab/tiny/model.safetensors@{COMMIT}"],
        [clip, f"hf://lab/clip/open_clip_model.safetensors@{COMMIT}"],
    ]
    downloads = [each for each in done.requests if each.startswith("GET cdn/")]
    assert downloads == ["GET cdn/lab/tiny/model.safetensors", "GET cdn/lab/clip/open_clip_model.safetensors"]


def test_a_driver_whose_hub_is_gone_says_what_it_takes(
    done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in done.environment.items():
        monkeypatch.setenv(name, value)
    # One that an earlier test has warmed has another environment.
    end_warm_process()
    spec = parse_model_name("timm:test_vit@hf://lab/tiny/model.safetensors")
    [resolved] = resolve_models([WantedModel(spec=spec, runtime=Runtime(), canaries=False)])
    assert [resolved.description.weights_sha256, resolved.description.weights_uri] == done.answers[3]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in said] == [
        "pixlake: the hub does not give hf://lab/tiny/model.safetensors@main"
    ]
