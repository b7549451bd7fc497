"""The only place, with orchestration/erasure.py, that reaches into Dagster's private modules.

Patches change what Dagster does: slot_polling, run_retries, interrupts. They are applied by one
call, `apply()`, and never by an import. The other modules are thin public functions over private
names, a subject each. tests/defs/test_dagster_internals.py asks the installed Dagster for every one
of these names.
"""

from __future__ import annotations


def apply(*, daemon: bool = False) -> None:
    """Patch Dagster in this process; may be repeated. Raises nothing where a later Dagster has
    another way already.

    daemon: the process may be Dagster's daemon, which decides what is run again. Without it only
    what executes runs is patched.
    """
    from avatar_pipeline.orchestration.dagster_patches.slot_polling import patch_slot_polling

    patch_slot_polling()
    if daemon:
        from avatar_pipeline.orchestration.dagster_patches.run_retries import patch_run_retries

        patch_run_retries()
