"""A real person's actor is renamed: consent moves along with the person, and with nobody else; a
revocation reaches what was made under the former name.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.stage import PHOTOS
from avatar_pipeline.pipeline.versions import photos_version
from tests.support.chains import publish
from tests.support.people import NAME, Call, found_below, needles


@pytest.fixture
def made(store: ActorStore, granted: Path, call: Call) -> str:
    """The digest of jane's photo_intake, made from her photographs; she is registered."""
    inputs = {PHOTOS: photos_version(store.photos(NAME))}
    digest = publish(store, NAME, "photo_intake", 1, inputs=inputs, checks=[]).digest
    assert call("register")[0] == 0
    return digest


def materializations(instance: dg.DagsterInstance, actor: str) -> int:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("photo_intake"), asset_partitions=[actor])
    return len(instance.fetch_materializations(wanted, limit=10).records)


def test_consent_holds_under_the_new_name_and_revoking_it_reaches_the_former_one(
    store: ActorStore, granted: Path, made: str, call: Call, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization("photo_intake", partition=NAME, metadata={"made": "as jane"})
    )
    exports = Path(str(store.root)).parent / "exports"
    exports.mkdir(exist_ok=True)
    (exports / f"{NAME}.jpg").write_bytes(b"a portrait that was put there before the new name")
    granted.rename(granted.with_name("joan"))
    _, said = call("register")
    assert "joan was called jane" in said
    assert store.current("joan", "photo_intake").digest == made
    assert "Jane Doe has consented" in call("consent", "show", "joan")[1]
    assert materializations(instance, "joan") == 1
    picture = store.read(store.current("joan", "photo_intake"), "contact_sheet.jpg")
    code, said = call("consent", "revoke", "joan", "--yes")
    assert code == 0, said
    assert (materializations(instance, NAME), materializations(instance, "joan")) == (0, 0)
    assert list(exports.glob("*.jpg")) == []
    home = Path(instance.root_directory)
    assert found_below([home, Path(str(store.root))], needles({"sheet": picture})) == []


def test_versions_of_other_photographs_are_not_taken_over(
    store: ActorStore, granted: Path, made: str, call: Call
) -> None:
    """Somebody put another person's photographs and consent into the folder."""
    folder = granted.rename(granted.with_name("joan"))
    next((folder / "photos").iterdir()).unlink()
    code, said = call("register")
    assert code == 0
    assert "joan holds versions of jane, which were made from other photographs" in said
    assert "joan was called" not in said
    assert '"actor": "jane"' in (folder / "photo_intake" / "manifest.json").read_text()
