"""`make airflow`: the DAG of docs/nightly.md, loaded by Airflow's DagBag in an environment that is made for it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "nightly.md"
AIRFLOW = "apache-airflow==3.3.2"
_LOAD = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
[dag] = bag.dags.values()
[task] = dag.tasks
print(dag.dag_id, task.task_id, task.bash_command, sep="\\n")
"""


def main() -> int:
    [dag] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    uv = str(Path(sys.executable).with_name("uv"))
    with tempfile.TemporaryDirectory(prefix="pixlake-airflow-") as folder:
        python = f"{folder}/env/bin/python"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, f"{folder}/env"], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, AIRFLOW], check=True)
        dags = Path(folder) / "dags"
        dags.mkdir()
        (dags / "photos.py").write_text(dag)
        own = {"AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        ended = subprocess.run(
            [python, "-c", _LOAD, str(dags)], env=inherited | own, capture_output=True, text=True, check=False
        )
    print(f"{AIRFLOW}: " + ("the DAG is loaded" if not ended.returncode else "FAILED"))
    print(ended.stderr[-3000:] if ended.returncode else ended.stdout, end="")
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
