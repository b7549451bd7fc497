"""Where an actor's portrait comes from, as a tree: for each asset its inputs, seed, model and
digest.
"""

from __future__ import annotations

from rich.markup import escape
from rich.tree import Tree

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.versions import version_of


def lineage(store: ActorStore, name: str) -> Tree:
    """Return the tree of an actor, from the last asset that exists down to the inputs, in the
    versions that were really consumed.

    Raises ActorError for an unknown actor, StoreError when nothing was made yet.
    """
    spec = store.spec(name)
    tree = Tree(f"[bold]{escape(spec.name)}[/bold]: {escape(spec.description)}")
    shown: set[tuple[str, str]] = set()
    for asset in reversed(STAGES):
        if not store.versions(name, asset):
            continue
        manifest = store.current(name, asset)
        # what nothing above consumed: a report, or a version made since
        if (asset, manifest.digest) not in shown:
            _add(tree, store, manifest, shown)
    if not shown:
        raise StoreError(f"{name} has nothing yet. Make it: avatar-pipeline run {name}")
    return tree


def _add(tree: Tree, store: ActorStore, manifest: Manifest, shown: set[tuple[str, str]]) -> None:
    title = f"[bold cyan]{manifest.asset}[/bold cyan] [green]{short(manifest.digest)}[/green]"
    if (manifest.asset, manifest.digest) in shown:
        tree.add(f"{title} (see above)")
        return
    shown.add((manifest.asset, manifest.digest))
    branch = tree.add(title)
    branch.add(_facts(manifest))
    for name, digest in manifest.inputs.items():
        if name not in STAGES:
            branch.add(f"{name} [green]{short(digest)}[/green]")
            continue
        try:
            _add(branch, store, version_of(store, manifest.actor, name, digest), shown)
        except StoreError:
            branch.add(
                f"[bold cyan]{name}[/bold cyan] [green]{short(digest)}[/green] [red](not "
                "in the store any more)[/red]"
            )


def _facts(manifest: Manifest) -> str:
    facts = [f"root seed {manifest.root_seed}"]
    if manifest.seeds:
        first = ", ".join(f"{sample} {seed}" for sample, seed in list(manifest.seeds.items())[:3])
        facts.append(
            f"seeds {first}"
            + (f" and {len(manifest.seeds) - 3} more" if len(manifest.seeds) > 3 else "")
        )
    if manifest.model_id:
        weights = f" ({short(manifest.model_sha256)})" if manifest.model_sha256 else ""
        facts.append(f"model {manifest.model_id} {manifest.model_revision}{weights}")
    if manifest.lora_sha256:
        facts.append(f"LoRA {short(manifest.lora_sha256)}")
    if manifest.asset == "validated_avatar" and manifest.metrics.get("source") == "photograph":
        facts.append("made of the best photograph")
    facts += [
        f"code {manifest.code_version}",
        f"{manifest.seconds:.1f} s on {manifest.device}",
        f"made {manifest.created[:19]}Z",
    ]
    return f"[dim]{escape('; '.join(facts))}[/dim]"
