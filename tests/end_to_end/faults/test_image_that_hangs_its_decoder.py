"""One image that takes its decoder down is one failure; its neighbours get their vectors."""

from pathlib import Path

from PIL import Image

from end_to_end.audit import Expected, audit
from end_to_end.command import LOCAL, pixlake_here
from made.sources import make_folder


def test_an_image_over_its_cpu_time_fails_alone(tmp_path: Path) -> None:
    good = make_folder(tmp_path / "images", range(60))
    # 49 megapixels of one colour: far more CPU time than is allowed here, and the kernel ends the decoder over it.
    Image.new("RGB", (7000, 7000), (1, 2, 3)).save(tmp_path / "images/00030.slow.png", compress_level=1)
    slow = Expected(str(tmp_path / "images/00030.slow.png"), failure="decode_timeout")
    limits = ("--set", "decode.decode_timeout_s=0.2", "--set", "cluster.block_rows=20")
    ended = pixlake_here("embed", f"{tmp_path}/images", f"{tmp_path}/lake/photos", *LOCAL, *limits, "--json")
    assert (ended.code, ended.json["failures_by_class"]) == (0, {"decode_timeout": 1}), ended.err
    audit(f"{tmp_path}/lake/photos", [*good[:31], slow, *good[31:]])


def test_an_image_over_its_memory_fails_alone(tmp_path: Path) -> None:
    good = make_folder(tmp_path / "images", range(60))
    Image.new("RGB", (7000, 7000), (1, 2, 3)).save(tmp_path / "images/00030.vast.png", compress_level=1)
    big = Expected(str(tmp_path / "images/00030.vast.png"), failure="decode_memory")
    limits = ("--set", "decode.memory_limit_bytes=67108864", "--set", "cluster.block_rows=20")
    ended = pixlake_here("embed", f"{tmp_path}/images", f"{tmp_path}/lake/photos", *LOCAL, *limits, "--json")
    assert (ended.code, ended.json["failures_by_class"]) == (0, {"decode_memory": 1}), ended.err
    audit(f"{tmp_path}/lake/photos", [*good[:31], big, *good[31:]])
