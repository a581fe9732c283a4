"""Mark 14: what commits cost a run: a wave every 10 s, over one commit at the end."""

import json
from functools import partial
from itertools import count
from typing import Any

from benchmarks import photographs
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import Setting
from benchmarks.turns import in_turn, ratio

WAVE_S, NEVER_S = 10.0, 1e6


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    manifest = setting.folder / "waves.parquet"
    photographs.write_manifest(setting.photographs, setting.sizes.wave_rows, manifest)
    numbers = count()
    sides = {f"{seconds:g}": partial(_run, setting, str(manifest), numbers, seconds) for seconds in (WAVE_S, NEVER_S)}
    waves, once = in_turn(sides, setting.sizes.rounds).values()
    found = ratio([each["images_per_s"] for each in waves], [each["images_per_s"] for each in once], best=max)
    commits = min(each["commits"] for each in waves)
    return {
        "14": Outcome(
            value=found.best,
            median=found.median,
            note=f"null model, {setting.sizes.wave_rows:,} rows, {commits} commits over {once[0]['commits']}",
            figures={
                side: [{key: each[key] for key in ("images_per_s", "seconds", "commits")} for each in of_side]
                for side, of_side in (("waves", waves), ("once", once))
            },
        )
    }


def _run(setting: Setting, manifest: str, numbers: "count[int]", interval_s: float) -> dict[str, Any]:
    roots = json.dumps(sorted({str(path.resolve().parent) for path in setting.photographs}))
    sets = ("source.id_column=id", f"fetch.allowed_roots={roots}", f"cluster.commit_interval_s={interval_s}")
    report: dict[str, Any] = json.loads(setting.embed(manifest, f"waves-{next(numbers)}", "null", *sets).output)
    return report
