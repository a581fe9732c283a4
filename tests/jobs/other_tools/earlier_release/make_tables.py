"""Makes COMMIT.tar.xz: a small table as a release of that commit left it, in the middle of its manifest.

Run by today's Python in today's tree, with a checkout of the earlier release, which it runs as a process:
`PYTHONPATH=tests python tests/jobs/other_tools/earlier_release/make_tables.py OLD_CHECKOUT OUT.tar.xz`. Made on
2026-11-29 with the libraries of that day's lock. The manifest and the images lie in a bucket, under names of their own:
a test that puts the same bytes there again has the same manifest, etags and all, wherever its server listens.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from made.earlier_source import LIMIT, SOURCE, put_source
from servers.s3 import s3_server


def main(checkout: str, out: str) -> None:
    folder = Path(tempfile.mkdtemp())
    lake = folder / "lake"
    with s3_server(folder) as server:
        put_source(server)
        environment = os.environ | server.environment | {"PYTHONPATH": checkout}

        def pixlake(*arguments: str) -> None:
            told = subprocess.run([sys.executable, "-m", "jobs", *arguments], cwd=checkout, env=environment)
            if told.returncode:
                raise SystemExit(f"{arguments}: exit code {told.returncode}")

        source = (SOURCE, str(lake / "photos"))
        sets = ("source.id_column=key", "source.keep=[label]", "source.rows_per_shard=4", "cluster.executor=local")
        pixlake("embed", *source, "--model", "null", "--limit", str(LIMIT), *(f"--set={each}" for each in sets))
        if (Path(checkout) / "jobs" / "reduce.py").exists():
            pixlake("reduce", str(lake / "photos"), "codes", "--quantize", "binary", "--set=cluster.executor=local")
    with tarfile.open(out, "w:xz") as archive:
        archive.add(lake, "lake")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), sys.argv[2])
