"""The actors of same_store.py, how BASE makes them, and what is then asked of their store.

Not a program.
"""

from __future__ import annotations

import json
from pathlib import Path

PERSON = "indian 40 year old male with long straight light brown hair and an angular jaw"
ASSETS = (
    "photo_intake", "base_image", "face_validation", "training_variations", "lora",
    "validated_avatar", "liveportrait_export",
)  # fmt: skip

# Every setting of the training stands here under its name of today: it must be read later, too.
ACTORS = {
    "small": f"""\
description: {PERSON}
likeness: synthetic
photos: openpeople:P008
framing: headshot
seed: 11
aliases: [Mr. Small]
model: {{steps: 10, guidance_scale: 3.5, lora_rank: 8}}
settings:
  base_image: {{face_detail: true}}
  training_variations: {{variations: 2}}
  lora:
    rank: 8
    alpha: 8
    learning_rate: 0.002
    steps: 16
    batch_size: 2
    accumulation: 2
    evaluate_every: 8
    patience: 3
    caption_dropout: 0.2
    face_weight: 2.0
    min_snr: 5.0
    ema: 0.5
    optimizer: adamw
    rslora: true
    dora: false
    prior_weight: 0.5
    prior_pictures: 2
    gradient_checkpointing: true
    quantise: none
    compile: false
    processes: 1
    probes: 2
    final_renders: 2
  validated_avatar: {{candidates: 3}}
""",
    "words": f"""\
description: {PERSON}
likeness: synthetic
photos: none
framing: headshot
seed: 5
settings:
  base_image: {{candidates: 2}}
  training_variations: {{variations: 7}}
  lora: {{steps: 6, evaluate_every: 6, probes: 1, final_renders: 1, accumulation: 2}}
  validated_avatar: {{candidates: 3}}
""",
    "jane": f"""\
description: {PERSON}
likeness: real
photos: openpeople:P008
framing: headshot
seed: 11
settings:
  training_variations: {{variations: 2}}
  lora: {{steps: 24, evaluate_every: 12, probes: 2, final_renders: 2}}
  validated_avatar: {{candidates: 3}}
""",
    "gone": """\
description: european 38 year old female with short curly dark hair
likeness: real
photos: openpeople:P006
framing: headshot
seed: 4
""",
    "odd": """\
description: european 38 year old female with short curly dark hair
likeness: synthetic
photos: none
framing: headshot
settings:
  lora: {stepz: 3, accumulation: many}
""",
}

PLAIN = [
    f"lora.{setting}"
    for setting in (
        "rslora=false", "prior_weight=0", "min_snr=0", "ema=0", "steps=24",
        "accumulation=1", "batch_size=4", "evaluate_every=12", "rank=16", "alpha=16",
        "quantise=null", "gradient_checkpointing=false", "caption_dropout=0.1", "face_weight=3",
    )
]  # fmt: skip
SCOPE = ("--scope", "embed,train,generate,publish", "--evidence", "paper.pdf", "--days", "3000")
FIRST = ("--only", "photo_intake", "--only", "base_image")  # the seed is chosen in photo_intake
MADE: tuple[tuple[str, ...], ...] = (
    ("register",),
    ("run", "small"),
    ("run", "small", "--seed", "14", *(word for each in PLAIN for word in ("--set", each))),
    ("run", "small", *FIRST, "--only", "face_validation", "--seed", "13"),
    ("run", "words"),
    ("run", "words", *FIRST, "--seed", "6"),
    ("run", "words", *FIRST, "--seed", "7", "--set", "base_image.candidates=1"),
    ("consent", "grant", "jane", "--subject", "Jane Doe", *SCOPE),
    ("run", "jane"),
    ("consent", "grant", "gone", "--subject", "Gone Person", *SCOPE),
    ("run", "gone", *FIRST),
    ("consent", "revoke", "gone", "--reason", "asked for", "--yes"),
)


def commands(actors: Path) -> list[tuple[str, ...]]:
    """The commands in their order; those that change something come last. actors: the store."""
    said: list[str] = ["register", "doctor", "automation"]
    said += ["batch demo jane --keep-unchanged --only face_validation"]
    for name in ("demo", "small", "words", "jane"):
        said += [f"history {name}", f"history {name} --json", f"lineage {name}"]
    for name in ("demo", "jane", "gone", "odd", "absent"):
        said += [f"consent show {name}", f"consent show {name} --json"]
    said += ["history gone", "history odd", "history absent", "lineage gone", "lineage absent"]
    said += ["history small lora", "history small nothing", "consent show jane --scope publish"]
    for asset in ASSETS:
        said += [f"diff small {asset}"]
        said += [f"replay small {asset}"] if asset != "training_variations" else []
    said += ["replay words base_image", "replay jane face_validation", "replay gone base_image"]
    said += ["diff words base_image", "diff demo lora", "diff small lora 0000", "diff absent lora"]
    said += ["replay demo liveportrait_export", "replay odd lora", "replay small nothing"]
    lora, base = versions(actors / "small", "lora"), versions(actors / "words", "base_image")
    said += [f"diff small lora {lora[0][:8]} {lora[-1][:8]} --picture sheet.png"]
    said += [f"diff words base_image {base[-1]} {base[0]} --picture base.jpg"]
    said += ["diff small lora --picture x.gif"]
    pictures = [f"exports/{name}.jpg" for name in ("demo", "small", "jane", "absent")]
    for picture in (*pictures, "actors/demo/base_image/demo_base.png"):
        said += [f"verify ../{picture}", f"verify ../{picture} --json"]
    said += ["verify ../exports/demo.jpg --trust ../home/credentials/root.pem"]
    said += ["verify paper.pdf", "preflight ../exports", "preflight ../exports --json --jobs 1"]
    said += ["preflight ../actors/small/photos --jobs 1", "preflight nothing.jpg"]
    said += ["preflight paper.pdf"]
    said += ["preflight ../exports/demo.jpg --report page.html --annotate marked", "metrics"]
    said += ["metrics --per-actor", "metrics --output figures.prom", "report small --output one"]
    said += ["report --output all --price 2", "report absent", "credentials show", "token list"]
    said += ["run odd", "run absent", "run small --set lora.nothing=1", "run small --only nothing"]
    said += ["run small --only liveportrait_export", "run small --set lora.steps=none --only lora"]
    said += ["prune small --keep 1", "prune words --keep 1 --dry-run", "prune gone --keep 1"]
    said += ["prune", "prune --all --keep 1", "prune small --all", "prune small --yes --dry-run"]
    said += [f"restore small lora {lora[0][:10]}", "history small lora", "lineage small"]
    said += [f"restore small lora {lora[-1]} --downstream", "restore small lora 0000"]
    said += ["history small"]
    said += [f"restore words base_image {base[0]}", "history words --json"]
    said += ["diff words base_image"]
    said += ["batch small words --keep-unchanged --only face_validation", "history words"]
    said += ["prune small --keep 1 --yes", "prune words --keep 1 --yes"]
    said += ["prune --all --keep 1 --yes"]
    said += ["history small", "history words", "lineage words", "replay small lora"]
    said += ["consent revoke jane --dry-run"]
    said += ["consent revoke jane --keep-photos --yes --reason over"]
    said += ["consent show jane", "consent show jane --json", "history jane", "lineage jane"]
    said += ["run jane", "consent revoke jane --yes", "consent revoke small --yes"]
    said += ["consent revoke absent --yes", "register", "metrics"]
    said += ["automation on", "automation"]
    calls = [tuple(line.split()) for line in said]
    grant = ("consent", "grant", "gone", "--subject", "Gone Person", *SCOPE)
    new = ("new-actor", "fresh", "--description", "asian 21 year old female with long black hair")
    bad = ("new-actor", "Bad Name", "--description", "superhero")
    return [*calls, grant, ("consent", "show", "gone"), new, new, bad, ("consent", "show", "fresh")]


def versions(actor: Path, asset: str) -> list[str]:
    """Digests of an asset's versions, the oldest first."""
    paths = (actor / "versions" / asset).glob("*/manifest.json")
    manifests = [json.loads(path.read_text()) for path in paths]
    return [made["digest"] for made in sorted(manifests, key=lambda made: str(made["created"]))]
