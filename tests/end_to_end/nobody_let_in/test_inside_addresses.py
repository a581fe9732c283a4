"""Whoever writes a manifest's URIs reaches nothing inside the network, by any command that fetches an image."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.command import LOCAL, LOOPBACK, pixlake_here
from made.solid_images import png_of
from servers.conditional import Conditional
from servers.faults import FaultServer
from servers.listener import Listener

HOSTS = (
    # 127.0.0.1 as decimal, hex, octal, with parts left out or too many digits
    *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1"),
    *("0x7f.1", "0177.1", "00000177.0.0.1", "127.0.0.2", "0", "0.0.0.0"),
    # in IPv6, mapped, translated, with a zone
    *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[::127.0.0.1]", "[::]"),
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]"),
    # behind names and user names, in other digits and dots
    *("localhost", "LOCALHOST", "localhost.", "a@127.0.0.1", "a:b@127.0.0.1", "1.1.1.1@127.0.0.1"),
    *("1.1.1.1%20@127.0.0.1", "127。0。0。1", "127\uff0e0\uff0e0\uff0e1", "①②⑦.0.0.1", "\uff11\uff12\uff17.0.0.1"),
    "%31%32%37.0.0.1",
    # where clouds keep their secrets, and what is private
    *("169.254.169.254", "2852039166", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "100.100.100.200"),
    *("168.63.129.16", "10.0.0.1", "192.168.0.1", "172.16.0.1", "[fe80::1]", "[fc00::1]"),
)
OTHERS = (
    *(
        "ftp://127.0.0.1:{port}/a.png",
        "gopher://127.0.0.1:{port}/_GET",
        "ldap://127.0.0.1:{port}/",
        "dict://127.0.0.1:{port}/",
    ),
    *("unix:///run/docker.sock", "jar:http://127.0.0.1:{port}!/a.png", "HTTP://127.0.0.1:{port}/a.png"),
    *("file:///etc/hostname", "/etc/hostname", "../outside.png", "in/../../outside.png", "%2e%2e/outside.png"),
    *("file:///proc/self/environ", "/dev/zero", "linked/outside.png", "in/\x00/../../outside.png"),
)


@pytest.fixture
def listener() -> Iterator[Listener]:
    running = Listener()
    yield running
    running.close()


@pytest.fixture
def server() -> Iterator[Conditional]:
    running = Conditional()
    yield running
    running.close()


def test_every_dressing_of_an_inside_address_is_one_blocked_row(listener: Listener, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "good.png").write_bytes(png_of(1))
    (tmp_path / "outside.png").write_bytes(png_of(2))
    (source / "linked").symlink_to("/etc")
    uris = [f"http://{host}:{listener.port}/latest/meta-data" for host in HOSTS]
    uris += [each.replace("{port}", str(listener.port)) for each in OTHERS]
    pq.write_table(pa.table({"uri": [*uris, "good.png"]}), source / "m.parquet")
    table = str(tmp_path / "lake" / "t")
    sets = (*LOCAL, "--set", "decode.isolate=false", "--set", "fetch.retry_s=0.5", "--max-failed", "1")
    ended = pixlake_here("embed", str(source / "m.parquet"), table, *sets, "--json")
    assert ended.code == 0, ended.err
    assert listener.connections == 0
    assert (ended.json["vectors"], ended.json["failures"]) == (1, len(uris))
    rows = lance.dataset(f"{table}__failures.lance").to_table().to_pylist()
    assert len(rows) == len(uris)
    classes = {row["row"]: row["error_class"] for row in rows}
    for at, uri in enumerate(uris):
        # A name that no resolver knows, a path that leads to no file, and what is no URI are not there to be blocked.
        named = at >= len(HOSTS) or not uri.isascii() or "%" in uri or "localhost." in uri
        others = ("bad_uri", "not_found", "unavailable") if named else ()
        assert classes[at] in ("blocked_source", *others), (uri, classes[at])
    [only] = lance.dataset(f"{table}.lance").to_table(columns=["uri"])["uri"].to_pylist()
    assert only.endswith("/good.png")


def test_a_redirect_into_the_network_is_not_followed(listener: Listener, tmp_path: Path) -> None:
    """By a run that may read the very server which redirects."""
    redirecting = FaultServer()
    try:
        to = [f"http://127.0.0.2:{listener.port}/", f"//127.0.0.2:{listener.port}/a.png", "file:///etc/hostname"]
        lines = [f"{redirecting.url}/goto/{number}?to={each}" for number, each in enumerate(to)]
        (tmp_path / "m.txt").write_text("\n".join(lines))
        only = ("--set", "fetch.allowed_cidrs=[127.0.0.1/32]", "--set", "decode.isolate=false", "--max-failed", "1")
        assert pixlake_here("embed", f"{tmp_path}/m.txt", f"{tmp_path}/lake/t", *LOCAL, *only).code == 0
        failed = lance.dataset(f"{tmp_path}/lake/t__failures.lance").to_table()["error_class"].to_pylist()
        assert failed == ["blocked_source"] * len(to)
        assert redirecting.asked.total() == len(to)
        assert listener.connections == 0
    finally:
        redirecting.close()


def test_no_later_command_reaches_what_its_own_run_may_not(server: Conditional, tmp_path: Path) -> None:
    """A table of images on this machine, embedded by a run that was allowed to: the others ask for themselves."""
    uris = [server.put(f"{number}.png", png_of(number)) for number in range(3)]
    manifest, table = str(tmp_path / "m.parquet"), str(tmp_path / "lake" / "t")
    pq.write_table(pa.table({"uri": uris}), manifest)
    here = (*LOCAL[2:], "--set", "decode.isolate=false")
    assert pixlake_here("embed", manifest, table, *LOCAL, *LOOPBACK, "--set", "decode.isolate=false").code == 0
    closed = ("--set", "fetch.allowed_cidrs=[]")
    server.asked.clear()

    refreshed = pixlake_here("refresh", table, "--check-http", "--json", *closed)
    assert refreshed.json["run"]["failures_by_class"] == {"blocked_source": 3}
    assert server.asked.total() == 0

    audited = pixlake_here("audit", table, "--json", *closed)
    assert audited.json["sample"]["unreachable"] == {"blocked_source": 3}
    assert server.asked.total() == 0

    swapped = pixlake_here("swap", table, "--set", "model.preprocess.resize=squash", "--to", "backfill", *here)
    assert swapped.code != 2, swapped.err
    failed = lance.dataset(f"{table}__swap__failures.lance").to_table()["error_class"].to_pylist()
    assert failed == ["blocked_source"] * 3
    assert server.asked.total() == 0

    searched = pixlake_here("search", table, "--image", uris[0])
    assert searched.code == 2
    assert "blocked_source" in searched.err
    assert server.asked.total() == 0


def test_a_night_reaches_nothing_inside(listener: Listener, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"uri": [f"http://127.0.0.1:{listener.port}/{n}.png" for n in range(2)]}), tmp_path / "m.parquet"
    )
    config = tmp_path / "night.yaml"
    config.write_text(
        f"source: {{uri: {tmp_path}/m.parquet}}\ntable: {tmp_path}/lake/t\nmodel: {{name: 'null'}}\n"
        "cluster: {executor: local}\ndecode: {isolate: false}\nretries: {attempts: 1}\nmax_failed: 1\n"
    )
    ended = pixlake_here("nightly", str(config), "--json")
    assert ended.code != 2, ended.err
    failed = lance.dataset(f"{tmp_path}/lake/t__failures.lance").to_table()["error_class"].to_pylist()
    assert failed == ["blocked_source"] * 2
    assert listener.connections == 0


def test_names_in_packed_files_lead_nowhere(listener: Listener, tmp_path: Path) -> None:
    """A member of a tar, and the path beside the bytes of a Parquet file, are names: nothing is opened or written by
    them."""
    names = ["../../outside.png", "/tmp/absolute.png", f"http://127.0.0.1:{listener.port}/a.png", "a/%2e%2e/b.png"]
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "a.tar", "w") as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = len(png_of(number))
            tar.addfile(member, io.BytesIO(png_of(number)))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    images = [{"bytes": png_of(number), "path": name} for number, name in enumerate(names)]
    pq.write_table(pa.table({"image": [*images, {"bytes": None, "path": names[2]}]}), tmp_path / "images.parquet")
    before = {path for path in tmp_path.parent.rglob("*") if "lake" not in path.parts}
    for source in (packed / "a.tar", tmp_path / "images.parquet"):
        table = f"{tmp_path}/lake/{source.stem}"
        ended = pixlake_here("embed", str(source), table, *LOCAL, "--set", "decode.isolate=false", "--json")
        assert ended.code == 0, ended.err
        assert (ended.json["vectors"], ended.json["failures"]) == (len(names), 1)
    assert listener.connections == 0
    assert {path for path in tmp_path.parent.rglob("*") if "lake" not in path.parts} == before
    assert not Path("/tmp/absolute.png").exists()
