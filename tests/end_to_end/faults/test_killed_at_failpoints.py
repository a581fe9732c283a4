"""`make chaos` in a small form: killed at failpoints, started again, audited. And commits whose answer is lost."""

import re
from pathlib import Path

import lance
import pytest

from chaos.plan import AT_THE_END, IN_THE_DRIVER, IN_WORKERS, WHILE_FAILURES_ARE_RETRIED, Fault, Plan, plan_of
from chaos.round import Round
from chaos.workers import KILLED, OnRay
from end_to_end.audit import audit
from end_to_end.command import embed_here, pixlake
from made.sources import make_folder
from operators.base.failpoints import ON, ONCE, PLACES

NOT_IN_A_RUN = ("derive", "duplicates", "index", "refresh", "swap")
LOCAL_STARTS = (
    (Fault(who="decode child", place="decode.row", at=5), Fault(who="driver", place="write.between", at=1)),
    (Fault(who="driver", place="commit.between", at=1),),
    (Fault(who="driver", place="table.landed", at=6),),
    (Fault(who="driver", place="run.audited", at=1),),
)
RAY_STARTS = (
    (
        Fault(who="decode child", place="decode.row", at=3),
        Fault(who="embed actor", place="embed.before", at=1),
    ),
)


@pytest.mark.kill
def test_killed_in_this_process_every_row_is_there_once_and_none_is_fetched_that_was_committed(tmp_path: Path) -> None:
    retried = (Fault(who="driver", place="move.between", at=1),)
    plan = Plan(
        seed=1, number=0, rows=400, executor="local", store="disk", model="null", starts=LOCAL_STARTS, retried=retried
    )
    ledger = Round(plan, tmp_path, None).go()
    # A run whose rows are all committed before its sixth commit has nothing to lose any more.
    assert ledger.kills.total >= 5, ledger.lines()
    assert ledger.faultless
    assert ledger.recomputed > 0


@pytest.mark.ray
@pytest.mark.kill
def test_workers_of_ray_are_killed_at_their_failpoints_and_every_row_is_there_once(tmp_path: Path) -> None:
    plan = Plan(seed=1, number=0, rows=300, executor="ray", store="disk", model="null", starts=RAY_STARTS, retried=())
    ledger = Round(plan, tmp_path, None).go()
    assert ledger.kills.killed == {(fault.who, fault.place): 1 for fault in RAY_STARTS[0]}
    assert ledger.ended == {"with exit code 0": 2}


@pytest.mark.ray
@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_of_reduce_refresh_and_swap_are_killed_on_ray_and_each_ends_by_itself(tmp_path: Path) -> None:
    work = OnRay(tmp_path, 300, seed=1)
    work.go()
    assert work.ledger.kills.total == sum(map(len, KILLED.values()))
    assert work.ledger.ended == {"with exit code 0": 4}


def test_every_failpoint_of_a_run_comes_up_in_the_first_rounds_and_a_plan_is_its_seeds_alone() -> None:
    plans = [plan_of(7, number, 5000) for number in range(6)]
    planned = {fault.place for plan in plans for faults in (*plan.starts, plan.retried) for fault in faults}
    in_a_run = {place for place in PLACES if place.split(".")[0] not in NOT_IN_A_RUN}
    assert in_a_run <= planned
    assert in_a_run == {*IN_WORKERS, *IN_THE_DRIVER, *AT_THE_END, *WHILE_FAILURES_ARE_RETRIED}
    assert plans == [plan_of(7, number, 5000) for number in range(6)]
    assert {(plan.executor, plan.store) for plan in (plan_of(7, number, 5000) for number in range(12))} == {
        (executor, store) for executor in ("local", "ray", "nodes") for store in ("disk", "s3")
    }


@pytest.mark.parametrize("at", range(1, 10))
def test_a_commit_that_landed_and_answered_an_error_is_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Whichever it is: a claim, a barrier, a record, a wave of failures or of vectors."""
    expected = make_folder(tmp_path / "images", range(40))
    table, sizes = f"{tmp_path}/lake/photos", ("--set=cluster.block_rows=10", "--set=cluster.rows_per_fragment=10")
    often = ("--set=cluster.commit_interval_s=0.01", "--set=cluster.num_cpus=2")
    done = tmp_path / "done"
    done.mkdir()
    monkeypatch.setenv(ON, f"table.landed=raise@{at}")
    monkeypatch.setenv(ONCE, str(done))
    ended = embed_here(f"{tmp_path}/images", table, *sizes, *often, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert (done / "table.landed").exists() or at > 8
    audit(table, expected)
    dataset = lance.dataset(f"{table}.lance")
    assert all((Path(f"{table}.lance") / "data" / file.path).exists() for file in files_of(dataset))


def files_of(dataset: "lance.LanceDataset") -> list[lance.fragment.DataFile]:
    return [file for fragment in dataset.get_fragments() for file in fragment.metadata.files]


def test_a_name_that_there_is_not_ends_the_command_before_anything_is_done(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", range(2))
    ended = pixlake("embed", f"{tmp_path}/images", f"{tmp_path}/lake/photos", environment={ON: "commit.vector=kill"})
    assert ended.code == 2
    assert re.search(r"there is no place 'commit\.vector'; there are .*commit\.vectors", ended.err)
    assert not (tmp_path / "lake").exists()
