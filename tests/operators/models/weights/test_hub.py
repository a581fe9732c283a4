"""The hub: asked once per node, then not at all; what is said when it does not answer or does not allow.

Each case runs in a child process, since huggingface_hub reads its settings when it is imported.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.hub import COMMIT, TOKEN, Hub, running_hub

URI = "hf://lab/tiny/model.safetensors"
PINNED = f"{URI}@{COMMIT}"
CONTENT = bytes(range(256)) * 400

FIND = """
import sys
from operators.models.spec import ModelError, parse_model_name
from operators.models.weights.hub import hub_file
spec = parse_model_name("timm:resnet18@" + sys.argv[1])
try:
    print(*hub_file(spec, spec.weights))
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


def test_a_hub_in_trouble_is_named(node: Node, hub: Hub) -> None:
    # Those that huggingface_hub tries again (503, no connection at all) take it 24 s.
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
