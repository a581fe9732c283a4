"""A configuration names models and files, never code: what looks like the path of a module is neither imported nor
run."""

from pathlib import Path

import pytest

from end_to_end.command import LOCAL, pixlake_here

NAMES = ("evil", "evil:run", "evil.Model", "./evil.py")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path that says so when it is imported."""
    marker = tmp_path / "marker"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef run(*a, **k): pass\nModel = run\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return marker


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["model.name", "regions", "reduce", "fetch.plugin", "cluster.executor", "operators"])
def test_no_name_of_a_configuration_is_imported(tmp_path: Path, marker: Path, name: str, key: str) -> None:
    (tmp_path / "m.txt").write_text("a.png\n")
    values = {"regions": f"{{kind: detector, model: '{name}'}}", "reduce": f"{{short: {{pca: '{name}'}}}}"}
    model = () if key == "model.name" else LOCAL[:2]
    ended = pixlake_here("embed", "m.txt", "./lake/t", *model, *LOCAL[2:], "--set", f"{key}={values.get(key, name)}")
    assert ended.code == 2, (ended.out, ended.err)
    assert "Traceback" not in ended.err
    assert not marker.exists()
