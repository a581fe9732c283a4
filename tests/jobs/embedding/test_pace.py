"""What a dry run says of the pace: the first rows are measured here, and the slowest part is named, whichever it is."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from jobs.config.embed import load
from jobs.embedding.plan import plan
from operators.models.warm import end_warm_process
from servers.narrow import narrow_server


def jpeg(side: int) -> bytes:
    """Noise that was enlarged: as much work to decode as a photograph of the size."""
    out = io.BytesIO()
    Image.effect_noise((side // 4, side // 4), 80).resize((side, side)).convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


def executor(uris: list[str], folder: Path, *sets: str, model: str = "null") -> dict[str, Any]:
    (folder / "list.txt").write_text("".join(f"{uri}\n" for uri in uris))
    base = {"source": {"uri": str(folder / "list.txt")}, "table": str(folder / "t"), "model": {"name": model}}
    shown = plan(load(sets=("cluster.num_cpus=2", *sets), base=base))
    assert f"bound by {shown.to_dict()['executor']['bound_by']}:" in shown.text()
    found: dict[str, Any] = shown.to_dict()["executor"]
    return found


def images(folder: Path, side: int, count: int = 40) -> list[str]:
    data = jpeg(side)
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(data)
    return [f"{number}.jpg" for number in range(count)]


def test_a_slow_network_binds(tmp_path: Path) -> None:
    with narrow_server(jpeg(256), 0.03) as url:
        uris = [f"{url}/{number}.jpg" for number in range(40)]
        found = executor(uris, tmp_path, 'fetch.allowed_cidrs=["127.0.0.1/32"]')
    assert found["bound_by"] == "network"
    assert found["measured_rows"] == 40
    assert 5 < found["images_per_s"] < 40


def test_heavy_decoding_binds(tmp_path: Path) -> None:
    found = executor(images(tmp_path, 2000), tmp_path)
    assert found["bound_by"] == "decode"
    assert found["decode_s"] > 0.01
    assert found["block_rows"] < 100


def test_a_heavy_model_binds(tmp_path: Path) -> None:
    found = executor(images(tmp_path, 256), tmp_path, model="timm:vit_tiny_patch16_224/random-0")
    end_warm_process()
    assert found["bound_by"] == "model"
    assert found["forward_s"] > found["decode_s"] > 0


def test_where_no_image_can_be_read_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("no.jpg\nnor-this.jpg\n")
    base = {"source": {"uri": str(tmp_path / "list.txt")}, "table": str(tmp_path / "t"), "model": {"name": "null"}}
    shown = plan(load(base=base))
    assert "pace     not measured: none of the first images could be fetched and decoded here" in shown.text()
    assert shown.to_dict()["executor"]["measured_rows"] == 0
