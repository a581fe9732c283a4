"""Mark 16: a student with at most a tenth of its teacher's operations: what it finds of what the teacher finds, and how
fast it is."""

import json
from pathlib import Path
from typing import Any

from benchmarks import photographs
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import LITE, PIXLAKE, Setting
from benchmarks.turns import timed

STUDENT = "timm:mobilenetv3_small_050"
SIDE = 128
"""Of the student's images, in pixels."""
MOST_OPERATIONS = 0.1


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    folder = setting.jpegs if setting.images is not None else _made(setting)
    setting.embed(folder, "taught", LITE)
    done = timed(
        [
            *(PIXLAKE, "distil", str(folder), "--teacher", setting.table("taught"), "--student", STUDENT),
            *("--from-scratch", "--out", str(setting.folder / "student"), "--batch", "64", "--micro-batch", "32"),
            *("--steps", str(setting.sizes.student_steps), "--test", "0.3", "--json"),
            f"--set=model.preprocess.image_size={SIDE}",
        ]
    )
    report: dict[str, Any] = json.loads(done.output)
    teacher, student = report["teacher"], report["student"]
    of = {each["who"]: each["recall"] for each in report["figures"]}
    share = student["macs"] / teacher["macs"]
    faults = () if share <= MOST_OPERATIONS else (f"{share:.1%} of the teacher's operations",)
    note = (
        f"{STUDENT} at {SIDE} pixels, {share:.1%} of the operations, {report['steps']:,} steps, "
        f"{done.seconds / 60:.0f} min; {report['images']['tested']} images held out; "
        f"untrained it finds {of['untrained']:.2f}"
    )
    figures = {"report": report, "seconds": done.seconds, "cpu_seconds": done.cpu_seconds}
    speed = student["images_per_s"] / teacher["images_per_s"]
    return {
        "16a": Outcome(value=of["student"], note=note, faults=faults, figures=figures),
        "16b": Outcome(value=speed, note=f"{student['images_per_s']:,.0f} images/s", faults=faults),
    }


def _made(setting: Setting) -> Path:
    folder = setting.folder / "taught"
    folder.mkdir()
    photographs.make(folder, setting.sizes.student_photographs)
    return folder
