"""Every command, with the line that `datalab --help` shows of it.

To add a command or a group: write `cli/<name>.py` with `app = typer.Typer()` and its functions, and add one line
here. A module with one function under the command's own name is a command; `group=True` makes a group of all its
functions. Command modules may import anything: they are loaded when they are called, never for help.
Each function takes `ctx: typer.Context`: `options_of(ctx)` (cli/options.py) answers the options that every command
has, `configuration_of(ctx)` (cli/configured.py) the settings; `output.show` prints for people and for programs.
Errors are simply raised: `cli/failures.py` maps them to words and exit codes; a finding is `raise typer.Exit(1)`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A command: its name, its line in the help, and whether it is a group. Its module is `datalab.cli.<name>`."""

    name: str
    summary: str
    group: bool = False

    @property
    def module(self) -> str:
        """The module that holds it."""
        return f"datalab.cli.{self.name.replace('-', '_')}"


COMMANDS = (
    Entry("init", "Start a project in a new folder from a template."),
    Entry("demo", "Run the farmers' example: from Avro files to a score that is traced back to them."),
    Entry("plan", "Show what a run would do now and why."),
    Entry("run", "Take in new source records and bring the tables up to date, as far as something changed."),
    Entry("ingest", "Take in new records of the sources, once or without end; no flow runs."),
    Entry("platform", "See how the processes are that keep a project going.", group=True),
    Entry("doctor", "Find what is not well with the tables and say what helps."),
    Entry("check", "Check settings, contracts and pipelines: names, circles, types, functions."),
    Entry("query", "Ask the tables: one SELECT in the Spark dialect, now or as of an earlier moment."),
    Entry("trace", "Trace a score or a row down to the source records it was made from, or back up from one."),
    Entry("lineage", "Show where tables and columns come from: sources, flows, feature views, training sets, models."),
    Entry("impact", "Show the flows, tables, features, training sets and models that a change of a column touches."),
    Entry("pipelines", "List, run and watch the flows of the project.", group=True),
    Entry("data", "Take in, list, show and validate data.", group=True),
    Entry("quarantine", "Look at records that could not be accepted; replay or discard them.", group=True),
    Entry("services", "Run real servers on this machine without containers: Kafka, a schema registry.", group=True),
    Entry("model", "Train, judge, promote and roll back models.", group=True),
    Entry("serve", "Serve scores over HTTP: the live model, its features, every answer recorded."),
    Entry("score", "Score requests from files with the live model and its features."),
    Entry("flush", "Take answered scores and recorded reviews from the server's log to the lake."),
    Entry("keys", "Create, list and revoke API keys.", group=True),
    Entry("features", "Bring features online, look them up, compare them, make training sets.", group=True),
    Entry("config", "Show and check the settings of the project.", group=True),
)
