"""Large libraries are imported without the garbage collector."""

import gc
import importlib
import sys
from collections.abc import Iterator

import pytest

from avatar_pipeline.core.importing import importing


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    frozen = gc.get_freeze_count()
    yield
    assert gc.isenabled()
    if not frozen:
        gc.unfreeze()


def test_the_collector_rests_while_a_module_is_imported_and_then_leaves_it_out() -> None:
    sys.modules.pop("this_module_is_of_this_test", None)
    frozen = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        sys.modules["this_module_is_of_this_test"] = type(sys)("this_module_is_of_this_test")
    del sys.modules["this_module_is_of_this_test"]
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


def test_nothing_is_left_out_of_collection_where_nothing_was_imported() -> None:
    frozen = gc.get_freeze_count()
    with importing():
        import json  # noqa: F401 - it was imported long ago
    assert gc.get_freeze_count() <= frozen


def test_a_failed_import_and_one_inside_another_put_the_collector_back() -> None:
    with importing(), pytest.raises(ModuleNotFoundError), importing():
        importlib.import_module("no_such_module_anywhere")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
