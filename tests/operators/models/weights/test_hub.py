"""The hub: asked once per node, then not at all; what is said when it does not answer or does not allow.

Each case runs in a child process, since huggingface_hub reads its settings when it is imported.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from servers.hub import COMMIT, TOKEN, Hub, running_hub

URI = "hf://lab/tiny/model.safetensors"
PINNED = f"{URI}@{COMMIT}"
CONTENT = bytes(range(256)) * 400

FIND = """
import sys
from operators.models.spec import ModelError, parse_model_name
from operators.models.weights.find import find_first_weights
from operators.models.weights.hub import hub_file
from operators.storage.stores import NO_OPTIONS
spec = parse_model_name("timm:resnet18")
try:
    uris = sys.argv[1].split()
    if len(uris) == 1:
        print(*hub_file(spec, *uris))
    else:
        found = find_first_weights(spec, uris, NO_OPTIONS)
        print(found.path, found.uri)
except ModelError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Node:
    """A machine of its own, as far as its caches go."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home = home
        self.hub = hub

    def start(self, uri: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", FIND, uri],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
                **{"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.home), "HF_HUB_ETAG_TIMEOUT": "2"},
                **environment,
            },
        )

    def find(self, uri: str, **environment: str) -> tuple[Path, str, str]:
        """(path, pinned uri, stderr)."""
        return answer(self.start(uri, **environment))

    def refusal(self, uri: str, **environment: str) -> str:
        process = self.start(uri, **environment)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 1, said
        assert TOKEN not in said
        return said.strip().splitlines()[-1]


def answer(process: "subprocess.Popen[str]") -> tuple[Path, str, str]:
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    path, uri = out.split()
    return Path(path), uri, said


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(Hub(files={"lab/tiny/model.safetensors": CONTENT})) as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, hub: Hub) -> Node:
    return Node(tmp_path / "hf", hub)


def test_two_processes_at_once_download_once_and_a_third_needs_no_hub(tmp_path: Path) -> None:
    with running_hub(Hub(files={"lab/tiny/model.safetensors": CONTENT}, get_s=1.0)) as hub:
        node = Node(tmp_path, hub)
        found = [answer(each) for each in [node.start(PINNED), node.start(PINNED)]]
        # huggingface_hub has locks of its own around the second request only.
        assert hub.requests() == [
            f"HEAD lab/tiny/resolve/{COMMIT}/model.safetensors",
            "GET cdn/lab/tiny/model.safetensors",
        ]
    path, uri, said = node.find(PINNED)
    assert (path, uri) == found[0][:2] == found[1][:2]
    assert uri == PINNED
    assert path.read_bytes() == CONTENT
    assert said == ""


def test_a_pinned_file_in_the_cache_is_not_asked_about(node: Node, hub: Hub) -> None:
    node.find(PINNED)
    before = len(hub.asked)
    node.find(PINNED)
    assert hub.asked[before:] == []


def test_a_branch_is_pinned_to_its_commit_and_asked_for_again(node: Node, hub: Hub) -> None:
    assert node.find(URI)[1] == PINNED
    hub.commit, hub.files["lab/tiny/model.safetensors"] = "f" * 40, b"newer"
    path, uri, _ = node.find(URI)
    assert (path.read_bytes(), uri) == (b"newer", f"{URI}@{'f' * 40}")


def test_a_branch_is_taken_from_the_cache_when_the_hub_does_not_give_it_and_that_is_said(tmp_path: Path) -> None:
    begin = "pixlake: the hub does not give hf://lab/tiny/model.safetensors@main ("
    with running_hub(Hub(files={"lab/tiny/model.safetensors": CONTENT})) as hub:
        node = Node(tmp_path, hub)
        node.find(URI)
        hub.gated.add("lab/tiny")
        assert f"{begin}401 Client Error." in node.find(URI)[2]
        hub.broken = 503
        assert f"{begin}Server error '503" in node.find(URI)[2]
    path, uri, said = node.find(URI)
    assert (path.read_bytes(), uri) == (CONTENT, PINNED)
    assert f"{begin}[Errno 111] Connection refused)" in said
    # Who set it knows.
    assert node.find(URI, HF_HUB_OFFLINE="1")[2] == ""


def test_a_cache_in_which_no_lock_can_be_made_will_do(node: Node) -> None:
    node.find(URI)
    shutil.rmtree(node.home / "hub" / ".locks")
    (node.home / "hub" / ".locks").touch()
    assert node.find(URI)[1] == PINNED


def test_a_small_file_in_a_folder_of_the_repository(node: Node, hub: Hub) -> None:
    hub.files["lab/tiny/text/config.json"] = b"{}"
    hub.small.add("text/config.json")
    path, uri, _ = node.find("hf://lab/tiny/text/config.json")
    assert (path.read_bytes(), uri) == (b"{}", f"hf://lab/tiny/text/config.json@{COMMIT}")


def test_a_token_goes_to_the_hub_alone(node: Node, hub: Hub) -> None:
    hub.gated.add("lab/tiny")
    node.find(URI, HF_TOKEN=TOKEN)
    assert "GET cdn/lab/tiny/model.safetensors" in hub.requests()
    assert hub.tokens_at_the_cdn == []


@pytest.mark.parametrize("token", ["", "hf_" + "somebody3lse" * 3])
def test_a_gated_model_says_what_to_do(node: Node, hub: Hub, token: str) -> None:
    hub.gated.add("lab/tiny")
    said = node.refusal(URI, **({"HF_TOKEN": token} if token else {}))
    assert f"is gated: accept its licence at {hub.endpoint}/lab/tiny" in said
    assert "set HF_TOKEN" in said


def test_a_repository_that_is_not_there_may_be_private(node: Node) -> None:
    said = node.refusal("hf://lab/other/model.safetensors", HF_TOKEN=TOKEN)
    assert "there is no repository lab/other, or it is private, or HF_TOKEN is wrong" in said


def test_a_file_or_revision_that_is_not_there_is_named(node: Node) -> None:
    assert "NotOnHub: model" in (said := node.refusal("hf://lab/tiny/open_clip_model.safetensors"))
    assert "lab/tiny has no file 'open_clip_model.safetensors'" in said
    assert "lab/tiny has no revision 'v9'" in node.refusal(f"{URI}@v9")


def test_that_a_file_is_not_there_is_remembered(tmp_path: Path) -> None:
    """Safetensors are tried first: without the hub too, an older repository's other file is then found."""
    with running_hub(Hub(files={"lab/tiny/model.safetensors": CONTENT})) as hub:
        node = Node(tmp_path, hub)
        node.refusal("hf://lab/tiny/other.safetensors")
    assert "NotOnHub" in node.refusal("hf://lab/tiny/other.safetensors")
    assert "NotOnHub" in node.refusal(f"hf://lab/tiny/other.safetensors@{COMMIT}")


def test_no_hub_and_no_copy_says_what_to_do(node: Node) -> None:
    said = node.refusal(URI, HF_HUB_OFFLINE="1")
    assert "HubUnreachable" in said
    assert "is not in this node's cache" in said
    assert "HF_HUB_OFFLINE is set" in said


@pytest.mark.parametrize("uri", ["hf://lab/tiny", "hf://lab//model.safetensors"])
def test_a_uri_without_a_file_is_refused(node: Node, uri: str) -> None:
    assert "write hf://OWNER/NAME/FILENAME[@REVISION]" in node.refusal(uri)


def test_a_host_that_is_not_there_is_tried_for_seconds_and_each_try_is_said(node: Node) -> None:
    started = time.monotonic()
    with closed_port() as port:
        process = node.start(URI, HF_ENDPOINT=f"http://127.0.0.1:{port}")
        _, said = process.communicate(timeout=300)
    assert time.monotonic() - started < 15
    *tries, end = said.strip().splitlines()
    refused = "no connection to 127.0.0.1 ([Errno 111] Connection refused)"
    assert tries == [f"pixlake: {refused}; trying again in {seconds} s" for seconds in (1, 2)]
    assert "HubUnreachable" in end
    assert "could not be downloaded (no connection to 127.0.0.1, tried 3 times in 3 s: [Errno 111]" in end
    assert "Check the network (proxy, firewall, HF_ENDPOINT), or name a weights file with @PATH" in end


def test_of_several_files_of_a_host_that_is_not_there_one_is_waited_for(node: Node, hub: Hub) -> None:
    other = "hf://lab/tiny/other.safetensors"
    hub.files["lab/tiny/model.safetensors"] = save({"weight": np.zeros(3, np.float32)})
    node.find(URI)
    with closed_port() as port:
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        process = node.start(f"{other} hf://lab/tiny/another.safetensors", **environment)
        assert process.communicate(timeout=300)[1].count("trying again in 1 s") == 1
        # A copy in the cache is found all the same.
        process = node.start(f"{other} {URI}", **environment)
        found, said = process.communicate(timeout=300)
        assert (said.count("trying again in 1 s"), found.split()[1]) == (1, PINNED), said


def test_a_proxy_that_is_not_there_is_named_without_its_password(node: Node) -> None:
    with closed_port() as port:
        proxy = f"http://somebody:{TOKEN}@127.0.0.1:{port}"
        said = node.refusal(URI, HF_ENDPOINT="http://hub.invalid", http_proxy=proxy, no_proxy="")
    assert "no connection to the proxy 127.0.0.1, tried 3 times" in said


def test_through_a_proxy_a_file_is_downloaded_though_its_host_is_not_known_here(node: Node, hub: Hub) -> None:
    """As behind a company's firewall, where the proxy alone resolves names."""
    hub.small.add("model.safetensors")
    found = node.find(URI, HF_ENDPOINT="http://hub.invalid", http_proxy=hub.endpoint, no_proxy="")
    assert found[0].read_bytes() == CONTENT


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens at while the block runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_hub_in_trouble_is_named(node: Node, hub: Hub) -> None:
    # Those that huggingface_hub tries again (503) take it 24 s.
    hub.broken = 501
    said = node.refusal(URI)
    assert "HubUnreachable" in said
    assert "501" in said
    assert "Check the network (proxy, firewall, HF_ENDPOINT), or name a weights file with @PATH" in said


def test_a_signed_address_is_not_told(node: Node, hub: Hub) -> None:
    hub.cdn_broken = 403
    said = node.refusal(URI)
    assert "could not be downloaded (403 Forbidden" in said
    assert "/cdn/lab/tiny/model.safetensors?X-Amz-Signature=***" in said
    assert "HF_TOKEN" not in said
    assert "c4nary" not in said
