"""`python -m benchmarks.page_pictures`: the pictures of docs/serve.md, of a table of scikit-image's photographs.

Needs Debian's package chromium.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.machine import ROOT
from benchmarks.serving import PIXLAKE, serving

PICTURES = ROOT / "docs" / "pictures"
EACH = 14
"""Parts that are cut out of each photograph."""
CHROMIUM = "/usr/bin/chromium"
_QUALITY = 82


def cut_out(folder: Path) -> None:
    """Parts of scikit-image's colour photographs, of any size and place: like each other, and not the same."""
    import skimage.data

    folder.mkdir()
    random = np.random.default_rng(0)
    for path in sorted(Path(skimage.data.__file__).parent.glob("*.*g")):
        image = Image.open(path)
        if image.mode != "RGB" or min(image.size) < 300:
            continue
        for number in range(EACH):
            wide, high = (int(side * random.uniform(0.35, 0.8)) for side in image.size)
            left, top = int(random.integers(0, image.width - wide)), int(random.integers(0, image.height - high))
            image.crop((left, top, left + wide, top + high)).save(folder / f"{path.stem}-{number:02d}.jpg", quality=90)


def take(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.save(PICTURES / f"{name}.webp", quality=_QUALITY)
    print(f"{name}.webp: {(PICTURES / f'{name}.webp').stat().st_size:,} bytes", file=sys.stderr)


def visit(page: Page, url: str) -> None:
    """A search by an image of the table, its record with a part drawn on it, and two settings side by side."""
    page.goto(url)
    page.wait_for_selector(".card")
    page.click("[aria-label^='Find similar: coffee'] >> nth=0")
    page.wait_for_selector(".score")
    page.click("[aria-label^='Add as not like'] >> nth=12")
    page.wait_for_selector(".example.unlike")
    take(page, "serve-search")
    page.click(".open >> nth=1")
    page.wait_for_selector("#record-near .card")
    page.locator("#record-picture").evaluate("image => image.decode()")
    for edge, value in enumerate(("30", "20", "70", "75")):
        page.fill(f"[data-edge='{edge}']", value)
    take(page, "serve-part")
    page.click("#record-close")
    page.click("summary")
    page.check("#compare")
    page.wait_for_selector(".side .card")
    page.select_option("#settings-b select >> nth=0", "vector_binary")
    page.wait_for_selector(".badge")
    page.locator(".differs").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.querySelector('.differs').offsetTop - 70)")
    take(page, "serve-compare")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        os.chdir(folder)
        cut_out(Path("photographs"))
        local = ("--set", "cluster.executor=local", "--set", "reuse=false")
        subprocess.run([PIXLAKE, "embed", "photographs", "lake/photographs", *local], check=True)
        subprocess.run([PIXLAKE, "reduce", "lake/photographs", "vector_binary", "--quantise", "binary"], check=True)
        with serving("lake/photographs") as (host, _), sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce").new_page()
            visit(page, f"http://{host}/")
            browser.close()


if __name__ == "__main__":
    main()
