"""The runner alone, with jobs made by hand: order, side by side, retries, blocking, events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from datalab.errors import CommitFailed, DataLabError, EngineError, Fenced
from datalab.events import Bus, ConstraintViolated, Event, StepFinished, StepRetried, StepStarted
from datalab.lake.provenance import CheckResult
from datalab.names import TableName
from datalab.pipelines.execute import Outcome
from datalab.pipelines.run import Job, RunOptions, StepResult, run_jobs
from datalab.pipelines.steps import Step, StepKind

A, B, C, D = (TableName("silver", name) for name in "abcd")
OPTIONS = RunOptions("r1", parallel=2, retries=2, backoff=0)
Action = Callable[[Step], Outcome]


@dataclass
class Script:
    """What happened, in order, and the jobs that write it down."""

    done: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def job(
        self, target: TableName, *after: TableName, name: str = "", act: Action | None = None, kind: StepKind = "append"
    ) -> Job:
        name = name or str(target)

        def plan() -> Step:
            self.done.append(f"plan {name}")
            return Step(target, name, kind, f"{target}: because")

        def execute(step: Step) -> Outcome:
            outcome = act(step) if act else Outcome(1, read=3, written=3)
            self.done.append(f"did {name}")
            return outcome

        return Job(target, name, frozenset(after), plan, execute)

    def run(self, *jobs: Job, options: RunOptions = OPTIONS) -> dict[str, StepResult]:
        bus = Bus()
        bus.subscribe(self.events.append)
        results = run_jobs(jobs, options, bus)
        assert [result.step.flow for result in results] == [job.name for job in jobs]
        assert bus.failures == []
        return {result.step.flow: result for result in results}

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def failing(*errors: Exception) -> Action:
    """Fails once with each error in turn, then succeeds."""
    left = list(errors)

    def act(_: Step) -> Outcome:
        if left:
            raise left.pop(0)
        return Outcome(1)

    return act


def test_independent_jobs_run_side_by_side():
    meeting = threading.Barrier(2, timeout=20)

    def meet(_: Step) -> Outcome:
        meeting.wait()
        return Outcome()

    script = Script()
    results = script.run(script.job(A, act=meet), script.job(B, act=meet))
    assert {result.status for result in results.values()} == {"ok"}


def test_no_more_jobs_at_once_than_asked_for():
    lock, at_work, most = threading.Lock(), [0], [0]

    def work(_: Step) -> Outcome:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        with lock:
            at_work[0] -= 1
        return Outcome()

    script = Script()
    script.run(*(script.job(table, act=work) for table in (A, B, C, D)), options=RunOptions("r", parallel=1))
    assert most == [1]


def test_a_job_comes_after_all_that_it_reads_whatever_order_they_are_given_in():
    script = Script()
    script.run(script.job(D, B, C), script.job(C, A), script.job(B, A), script.job(A))
    did = [line for line in script.done if line.startswith("did")]
    assert did[0] == "did silver.a"
    assert did[-1] == "did silver.d"
    assert script.done.index("plan silver.d") > script.done.index("did silver.b")
    assert script.done.index("plan silver.d") > script.done.index("did silver.c")


def test_a_table_that_nobody_makes_is_not_waited_for():
    script = Script()
    assert script.run(script.job(A, TableName("bronze", "ready")))["silver.a"].status == "ok"


def test_jobs_of_one_target_run_one_after_the_other_in_the_order_given():
    script = Script()
    script.run(script.job(A, name="one"), script.job(A, name="two"), script.job(A, name="three"))
    assert script.done == ["plan one", "did one", "plan two", "did two", "plan three", "did three"]


def test_who_reads_a_table_of_several_jobs_waits_for_all_of_them():
    script = Script()
    script.run(script.job(B, A), script.job(A, name="one"), script.job(A, name="two"))
    assert script.done[-2:] == ["plan silver.b", "did silver.b"]


def test_a_failure_blocks_what_depends_on_it_and_nothing_else():
    script = Script()
    results = script.run(
        script.job(A, act=failing(EngineError("out of ideas"))), script.job(B, A), script.job(C, B), script.job(D)
    )
    assert {name: result.status for name, result in results.items()} == {
        "silver.a": "failed",
        "silver.b": "blocked",
        "silver.c": "blocked",
        "silver.d": "ok",
    }
    assert results["silver.b"].step.reason == "silver.b: not tried, silver.a failed"
    assert (results["silver.b"].attempts, results["silver.b"].error) == (0, None)
    assert "plan silver.b" not in script.done
    finished = {event.target: (event.status, event.error) for event in script.told(StepFinished)}
    assert finished["silver.a"] == ("failed", "out of ideas")
    assert finished["silver.b"] == ("blocked", "silver.a failed")


def test_what_passes_by_itself_is_tried_again_with_a_new_plan():
    script = Script()
    results = script.run(script.job(A, act=failing(Fenced("too late"), CommitFailed("storage"))))
    assert (results["silver.a"].status, results["silver.a"].attempts) == ("ok", 3)
    assert script.done == ["plan silver.a"] * 3 + ["did silver.a"]
    assert [(event.attempt, event.error) for event in script.told(StepRetried)] == [(1, "too late"), (2, "storage")]


def test_a_new_plan_may_find_that_nothing_is_left_to_do():
    """Another process did the work: the second plan skips."""
    kinds: list[StepKind] = ["append", "skip"]
    script = Script()
    job = script.job(A, act=failing(Fenced("too late")))
    planned = Job(A, "silver.a", frozenset(), lambda: Step(A, "silver.a", kinds.pop(0), "why"), job.execute)
    assert script.run(planned)["silver.a"].status == "skipped"


def test_retries_end():
    script = Script()
    result = script.run(script.job(A, act=failing(*(Fenced(f"{n}") for n in range(9)))))["silver.a"]
    assert (result.status, result.attempts, str(result.error)) == ("failed", 3, "2")
    assert len(script.told(StepRetried)) == 2


def test_what_would_fail_again_is_not_tried_again():
    script = Script()
    result = script.run(script.job(A, act=failing(DataLabError("wrong"))))["silver.a"]
    assert (result.status, result.attempts) == ("failed", 1)
    assert script.told(StepRetried) == []


def test_an_exception_that_nobody_expected_is_a_failed_step():
    error = ZeroDivisionError("division by zero")
    script = Script()
    results = script.run(script.job(A, act=failing(error)), script.job(B))
    assert results["silver.a"].error is error
    assert (results["silver.a"].status, results["silver.b"].status) == ("failed", "ok")


def test_a_plan_that_fails_is_a_failed_step():
    def plan() -> Step:
        raise EngineError("no head")

    script = Script()
    result = script.run(Job(A, "silver.a", frozenset(), plan, lambda _: Outcome()))["silver.a"]
    assert (result.status, result.step.target) == ("failed", A)


def test_a_skipped_step_is_not_executed_and_blocks_nothing():
    script = Script()
    results = script.run(script.job(A, kind="skip"), script.job(B, A))
    assert (results["silver.a"].status, results["silver.b"].status) == ("skipped", "ok")
    assert "did silver.a" not in script.done
    assert [event.target for event in script.told(StepStarted)] == ["silver.b"]


def test_each_step_says_when_it_starts_and_ends_and_which_constraints_were_broken():
    checks = (CheckResult("positivo", "valor > 0", "drop", 2), CheckResult("inteiro", "valor > 1", "warn", 0))
    script = Script()
    script.run(script.job(A, act=lambda _: Outcome(4, read=5, written=3, quarantined=2, checks=checks)))
    started, violated, finished = script.events
    assert isinstance(started, StepStarted)
    assert (started.run_id, started.target, started.kind) == ("r1", "silver.a", "append")
    assert isinstance(violated, ConstraintViolated)
    assert (violated.constraint, violated.rows, violated.action) == ("positivo", 2, "drop")
    assert isinstance(finished, StepFinished)
    assert (finished.status, finished.counts["quarantined"]) == ("ok", 2)


def test_no_jobs_no_results():
    assert Script().run() == {}
