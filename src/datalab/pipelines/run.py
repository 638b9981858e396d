"""Executes planned jobs: independent ones side by side, retryable failures again, on past what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal

from datalab.errors import DataLabError
from datalab.events import Bus, ConstraintViolated, StepFinished, StepRetried, StepStarted
from datalab.names import TableName
from datalab.pipelines.outcome import Outcome
from datalab.pipelines.steps import Step

Status = Literal["ok", "skipped", "failed", "blocked"]


@dataclass(frozen=True)
class Job:
    """One step to come: `plan` says what is to be done with the heads of that moment, `execute` does it.

    Jobs of one target run one after the other, in the order given.
    """

    target: TableName
    name: str
    after: frozenset[TableName]
    plan: Callable[[], Step]
    execute: Callable[[Step], Outcome]


@dataclass(frozen=True)
class StepResult:
    """How one step ended. `error` is set where it failed; `attempts` counts tries."""

    step: Step
    status: Status
    outcome: Outcome = field(default_factory=Outcome)
    seconds: float = 0.0
    error: Exception | None = None
    attempts: int = 1


@dataclass(frozen=True)
class RunOptions:
    """How to execute: steps side by side, tries after the first, pause before the first retry in seconds."""

    run_id: str
    parallel: int = 2
    retries: int = 3
    backoff: float = 0.2


def run_jobs(jobs: Iterable[Job], options: RunOptions, bus: Bus) -> tuple[StepResult, ...]:
    """Execute all jobs, each after those that it depends on; answers their results in the order of the jobs.

    A job whose dependency failed is `blocked`; all others are done. Errors are in the results, never raised.
    """
    ordered = list(jobs)
    waiting = dict(enumerate(ordered))
    results: dict[int, StepResult] = {}
    running: dict[Future[StepResult], int] = {}
    with ThreadPoolExecutor(max_workers=options.parallel, thread_name_prefix="step") as pool:
        while waiting or running:
            for number in _ready(ordered, waiting, results):
                job = waiting.pop(number)
                blocker = _blocker(ordered, number, results)
                if blocker:
                    results[number] = _blocked(job, blocker)
                    bus.emit(StepFinished(options.run_id, str(job.target), "blocked", 0.0, {}, f"{blocker} failed"))
                else:
                    running[pool.submit(_run_job, job, options, bus)] = number
            done, _ = wait(running, return_when=FIRST_COMPLETED) if running else (set(), None)
            for future in done:
                results[running.pop(future)] = future.result()
    return tuple(results[number] for number in range(len(ordered)))


def _predecessors(jobs: Sequence[Job], number: int) -> list[int]:
    job = jobs[number]
    earlier = (other for other in range(number) if jobs[other].target == job.target)
    upstream = (other for other, candidate in enumerate(jobs) if candidate.target in job.after and other != number)
    return [*earlier, *upstream]


def _ready(jobs: Sequence[Job], waiting: dict[int, Job], results: dict[int, StepResult]) -> list[int]:
    return [number for number in waiting if all(before in results for before in _predecessors(jobs, number))]


def _blocker(jobs: Sequence[Job], number: int, results: dict[int, StepResult]) -> str:
    broken = (before for before in _predecessors(jobs, number) if results[before].status in ("failed", "blocked"))
    return next((str(jobs[before].target) for before in broken), "")


def _blocked(job: Job, blocker: str) -> StepResult:
    step = Step(job.target, job.name, "skip", f"{job.target}: not tried, {blocker} failed")
    return StepResult(step, "blocked", attempts=0)


def _run_job(job: Job, options: RunOptions, bus: Bus) -> StepResult:
    started = time.monotonic()
    step = Step(job.target, job.name, "skip", "")
    for attempt in range(1, options.retries + 2):
        try:
            step = job.plan()
            if step.kind == "skip":
                return _finish(StepResult(step, "skipped", seconds=time.monotonic() - started), options, bus)
            bus.emit(StepStarted(options.run_id, str(step.target), step.kind, step.reason))
            outcome = job.execute(step)
            return _finish(StepResult(step, "ok", outcome, time.monotonic() - started, None, attempt), options, bus)
        except Exception as error:  # noqa: BLE001 - one step's failure must not end the others
            failed = StepResult(step, "failed", Outcome(), time.monotonic() - started, error, attempt)
            if not (isinstance(error, DataLabError) and error.retryable) or attempt > options.retries:
                return _finish(failed, options, bus)
            bus.emit(StepRetried(options.run_id, str(job.target), attempt, str(error)))
            time.sleep(options.backoff * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _finish(result: StepResult, options: RunOptions, bus: Bus) -> StepResult:
    target = str(result.step.target)
    for check in result.outcome.checks:
        if check.failed:
            bus.emit(ConstraintViolated(target, check.name, check.failed, check.action))
    error = "" if result.error is None else str(result.error)
    bus.emit(StepFinished(options.run_id, target, result.status, result.seconds, result.outcome.counts, error))
    return result
