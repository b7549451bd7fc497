"""What a task made, signed: every file of it leaves the house."""

from __future__ import annotations

from avatar_pipeline.content_credentials.sign import Origin, includes_prompt, sign
from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.tasks.task import TaskResult

# Of `made_from`, what is no ingredient: they have places of their own, or are the digest of the
# picture itself.
ELSEWHERE = ("base_model", "lora", "base_image")


def signed(result: TaskResult) -> dict[str, bytes]:
    """The result's files with content credentials. Raises CredentialsError when they cannot be
    signed.
    """
    return {name: sign(data, origin_of(result, name)) for name, data in result.files.items()}


def origin_of(result: TaskResult, file: str) -> Origin:
    """What the manifest of one of the files says. Neither the actor nor, unless it is asked for,
    the prompt.
    """
    facts, made_from = result.facts, result.made_from
    if "edits" in facts:  # a photograph, which no model has drawn
        return Origin(
            "", "", None, facts["source_type"], ingredients=made_from, edits=tuple(facts["edits"])
        )
    swap = "method" in facts
    return Origin(
        model=facts["method"] if swap else facts["model"],
        model_sha256=_swapper_sha256(facts["method"]) if swap else made_from.get("base_model", ""),
        seed=result.seeds.get(file),
        lora_sha256=made_from.get("lora"),
        ingredients={
            name: digest for name, digest in made_from.items() if digest and name not in ELSEWHERE
        },
        source="compositeWithTrainedAlgorithmicMedia" if swap else "trainedAlgorithmicMedia",
        prompt=facts.get("prompt") if includes_prompt() else None,
    )


def _swapper_sha256(method: str) -> str:
    """The hash of the model that swapped; the method of landmarks has none."""
    if method != "inswapper":
        return ""
    from avatar_pipeline.face_swap import inswapper_file

    return sha256_file(inswapper_file())
