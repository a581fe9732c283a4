#!/usr/bin/env bash
# img2dataset 1.47.0: a PNG of 16 bits a sample is written as a white JPEG, and counted as a success.
#
# It decodes with OpenCV as the file is, 16 bits, resizes, and encodes as JPEG. OpenCV 4.13 brings 16 bits to 8 by cutting off
# all above 255, not by dividing by 257: of a ramp from black to white nothing but white is left, of RGB and grey alike.
# The shard's record says `success`, and OpenCV's one line of warning names no file. Scans, microscopes, renderers and depth
# cameras write such files; in a data set that was downloaded so they are one white image, duplicates of each other.
#
# Pixlake keeps the high byte of 16 bits: docs/images.md. Shards that img2dataset has written hold the white images: fetch the
# originals.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    img2dataset==1.47.0 opencv-python-headless==4.13.0.92 pillow==13.0.0
cat > "$folder/run.py" <<'P'
import functools
import http.server
import json
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from img2dataset import download
from PIL import Image


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def main(folder):
    source = folder / "source"
    source.mkdir()
    ramp = np.tile(np.linspace(0, 1, 128)[None, :, None], (128, 1, 3))
    for name, image in {
        "rgb-8": (ramp * 255).round().astype(np.uint8),
        "rgb-16": (ramp * 65535).round().astype(np.uint16),
        "grey-16": (ramp[..., 0] * 65535).round().astype(np.uint16),
    }.items():
        cv2.imwrite(f"{source}/{name}.png", image)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=source))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = folder / "urls.txt"
    urls.write_text("\n".join(f"http://127.0.0.1:{server.server_port}/{each.name}" for each in source.iterdir()))
    out = folder / "out"
    download(
        url_list=str(urls), output_folder=str(out), image_size=64, resize_mode="keep_ratio", processes_count=1, thread_count=2
    )
    server.shutdown()
    seen = {}
    for record in sorted(out.glob("*/*.json")):
        said = json.loads(record.read_text())
        if "url" in said:
            row = np.asarray(Image.open(record.with_suffix(".jpg")).convert("L"))[32, [0, 16, 32, 48, 63]]
            seen[said["url"].rpartition("/")[2]] = said["status"], row.tolist()
    print("img2dataset", version("img2dataset"), "OpenCV", cv2.__version__)
    for name, (status, row) in sorted(seen.items()):
        print(f"{name}: {status}, a ramp from 0 to 255 comes out as {row}")
    white = {name for name, (status, row) in seen.items() if status == "success" and min(row) > 250}
    ramps = {name for name, (status, row) in seen.items() if status == "success" and row[0] < 10 and 110 < row[2] < 145}
    return 0 if (white, ramps) == ({"rgb-16.png", "grey-16.png"}, {"rgb-8.png"}) else "changed"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
P
NO_ALBUMENTATIONS_UPDATE=1 "$folder/venv/bin/python" "$folder/run.py" "$folder" 2> "$folder/log" ||
    { tail -20 "$folder/log"; exit 1; }
