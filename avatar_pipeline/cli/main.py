"""The command line, avatar-pipeline: what people type. Each command is a function in this room,
one file for each kind of work.
"""

from __future__ import annotations

import signal
import sys
import threading

import typer
from rich.console import Console

from avatar_pipeline.cli import (
    actors,
    automation,
    batch,
    consent,
    credentials,
    diff,
    history,
    inspect,
    metrics,
    portrait,
    prune,
    report,
    restore,
    run,
    serve,
    setup,
    tokens,
)
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.core.os_errors import explain

app = typer.Typer(
    help="From a description or photographs of a person to a validated, traceable avatar.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# In the order in which --help lists them.
COMMANDS = (
    portrait.portrait,
    actors.register,
    actors.new_actor,
    run.run,
    batch.batch,
    run.replay,
    automation.automation,
    inspect.lineage,
    history.history,
    diff.diff,
    restore.restore,
    prune.prune,
    report.report,
    inspect.preflight,
    credentials.verify,
    inspect.doctor,
    metrics.metrics,
    setup.fetch,
    setup.ui,
    serve.serve,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(consent.consent, name="consent")
app.add_typer(tokens.token, name="token")
app.add_typer(credentials.credentials, name="credentials")


def main(arguments: list[str] | None = None) -> None:
    """Entry point. What the user has to fix is printed as it is, without a traceback; the exit
    code is then 1.
    """
    _heed_signals()
    try:
        app(arguments)
    except AvatarPipelineError as error:
        _fail(str(error))
    except Exception as error:
        if words := explain(error):
            _fail(words)
        raise


def _heed_signals() -> None:
    """Let SIGINT count where a script has started this process in the background.

    A shell without job control starts `command &` with SIGINT ignored, and Dagster gives SIGTERM
    whatever handler SIGINT has: `dagster dev`, a batch between two runs and their children would
    ignore both.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _fail(words: str) -> None:
    Console(stderr=True, soft_wrap=True).print(
        f"Error: {words}", markup=False, highlight=False, style="red"
    )
    sys.exit(1)


if __name__ == "__main__":
    main()
