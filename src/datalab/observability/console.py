"""A listener that tells a person, in one sentence each, what a run did and what deserves attention."""

from __future__ import annotations

from collections.abc import Callable

from datalab.events import (
    CommitLanded,
    ConstraintViolated,
    DeadLettersDelayed,
    DeadLettersSent,
    Event,
    OffsetsLost,
    PartitionAdded,
    SourceFileIgnored,
    SourcePaused,
    SourceResumed,
    StepFinished,
    StepRetried,
    TopicRecreated,
)

Say = Callable[[str], None]


class Narrator:
    """Says a sentence for each event that a person wants to know of; the rest passes in silence."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def __call__(self, event: Event) -> None:
        """Take an event."""
        text = sentence(event)
        if text:
            self._say(text)


def sentence(event: Event) -> str:
    """The event in words; empty for one that needs none."""
    match event:
        case StepFinished(target=target, status="failed", error=error):
            return f"{target} failed: {error}"
        case StepFinished(target=target, status=status, seconds=seconds, counts=counts):
            rows = "".join(f", {name} {count:,}" for name, count in counts.items() if count)
            return f"{target} {status}{rows} ({seconds:.1f} s)"
        case StepRetried(target=target, attempt=attempt, error=error):
            return f"{target} is tried again (attempt {attempt}): {error}"
        case ConstraintViolated(target=target, constraint=constraint, rows=rows, action=action):
            return f"{target}: {rows:,} rows broke {constraint} ({action})"
        case SourceFileIgnored(source=source, file=file, reason=reason):
            return f"{source}: {file} was not taken: {reason}"
        case CommitLanded(table=table, snapshot=snapshot, resolved=True):
            return f"{table}: the answer to a commit was lost; reading back showed that snapshot {snapshot} landed"
        case _:
            return _about_dead_letters(event)


def _about_dead_letters(event: Event) -> str:
    match event:
        case DeadLettersSent(source=source, topic=topic, records=records):
            return f"{source}: {records:,} quarantined records sent to {topic}"
        case DeadLettersDelayed(source=source, error=error):
            return f"{source}: dead letters wait for the next run: {error}"
        case _:
            return ""


def about_topics(event: Event) -> str:
    """What a topic did that nobody may overlook, in words; empty for other events."""
    match event:
        case TopicRecreated(source=source, topic=topic):
            return f"{source}: the topic {topic} was made again: it is read from its beginning"
        case PartitionAdded(source=source, topic=topic, partition=partition):
            return f"{source}: {topic} has a new partition, {partition}: it is read from its beginning"
        case OffsetsLost(source=source, topic=topic, partition=partition, first=first, stop=stop):
            lost = f"offsets {first:,} to {stop - 1:,} of {topic}/{partition}"
            return f"{source}: {lost} were deleted before they were read: they are lost"
        case SourcePaused(source=source, reason=reason):
            return f"{source} waits: {reason}"
        case SourceResumed(source=source, seconds=seconds):
            return f"{source} goes on after {seconds:.1f} s"
        case _:
            return ""
