"""Consent for the faces that a request sends: what the client declares, and who answers for it when
it declares nothing.

The threat: a client has a face drawn or swapped whose owner never agreed. No one can see from a
picture whether its person did.
The mechanism: a client that sends a face says that everybody shown has agreed, by the header
X-Consent or the field `consent`. A no is refused always, silence where `policy` is "declared";
before a picture is fetched, decoded, queued or stored. What was declared is part of the job.
Its limits: a declaration is a statement, not a proof. JSON is read into memory, and a form before
its fields are known: files above 1 MiB pass through an unnamed temporary file, which is gone with
the refusal; the header's no is refused before a form is read. A proxy that hides both the name that
its clients ask for and their addresses makes them look like users of this machine: set
`upload_consent` there.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import Request
from pydantic import BeforeValidator, Field, WithJsonSchema

from avatar_pipeline.core.errors import ConsentRequired, InvalidInput
from avatar_pipeline.service.http.exposure import is_loopback, open_to
from avatar_pipeline.service.jobs.job import Declaration, now
from avatar_pipeline.service.settings import Settings

HEADER = "X-Consent"
MAX_TEXT_LENGTH = 500  # characters of a text that says who agreed
# in forms everything is text; `on` is an HTML checkbox's
YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
# a text that begins so does not say that a person agreed
DENIED = (*NO, "not", "never", "none", "nobody", "without")
HOW = f"send the field consent: true, or a text that says who agreed, or the header {HEADER}: yes"


def _read(value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if (word := text.lower()) in YES:
        return True
    if word in NO or (" " in word and re.findall(r"\w+|$", word)[0] in DENIED):
        return False
    if len(text.split()) > 1 and len(text) <= MAX_TEXT_LENGTH and text.isprintable():
        return text
    raise ValueError(
        f"give true, false, or a text of 2 words to {MAX_TEXT_LENGTH} characters that says who "
        "agreed, such as 'Jane Doe agreed on 2026-05-01'"
    )


Consent = Annotated[
    bool | str | None,
    BeforeValidator(_read),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {
                    "type": "string",
                    "maxLength": MAX_TEXT_LENGTH,
                    "pattern": rf"^({'|'.join((*YES, *NO))})$|\S\s+\S",
                },
                {"type": "null"},
            ]
        }
    ),
    Field(
        description="Whether everybody whose face is sent has agreed to this use: true, or a text "
        "that says who agreed, which is kept with "
        f"the job and nowhere else. The header {HEADER}: yes says the same. false is refused; "
        "without any, the service's policy counts.",
        examples=[True, "Jane Doe agreed on 2026-05-01"],
    ),
]

PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "enum": ["yes", "no"]},
    "description": "whether everybody whose face this request sends has agreed to this use; no is "
    "refused (403 no_consent)",
    "example": "yes",
}


def policy(settings: Settings, request: Request | None = None) -> Literal["declared", "operator"]:
    """Return who answers for the consent of people whose faces come without a word: the operator,
    or no one ("declared"), so that they are refused.

    request: one that came under another name, or from another address, than this machine's own
    shows that others reach the service.
    """
    if settings.upload_consent is not None:
        return settings.upload_consent
    if open_to(settings):
        return "declared"
    from_here = request is None or (
        is_loopback(request.url.hostname or "")
        and request.client is not None
        and is_loopback(request.client.host)
    )
    return "operator" if from_here else "declared"


def policy_in_words(settings: Settings) -> str:
    """Return the policy as one line for the log."""
    reach = (
        "as others reach this service" if open_to(settings) else "as only this machine reaches it"
    )
    why = "as set" if settings.upload_consent else reach
    if policy(settings) == "declared":
        return (
            f"Faces that are sent need a declaration of consent, {why} (upload_consent: "
            f"declared): field consent, or header {HEADER}."
        )
    return (
        f"Faces may be sent without a declaration of consent, {why} (upload_consent: operator): "
        "you answer for it."
    )


def refuse_denial(request: Request) -> None:
    """Refuse a request whose header says no: before a form is read, whatever is asked for.

    Raises ConsentRequired for a no, InvalidInput for what is neither yes nor no.
    """
    if _header(request) is False:
        raise _no(HEADER)


def declare(request: Request, settings: Settings, given: bool | str | None) -> None:
    """Take the declaration of consent, before a face is fetched or decoded. given: the field
    `consent`. `submit` stores with the job what is found here.

    Raises ConsentRequired when the client says no, contradicts itself, or is silent where it has to
    speak.
    """
    header, field = _header(request), None if given is None else bool(given)
    if header is not None and field is not None and header != field:
        raise _refused(
            "consent", f"the header {HEADER} and the field consent contradict each other."
        )
    if header is False or field is False:
        raise _no(HEADER if header is False else "consent")
    by: Literal["field", "header", "field and header", "operator"] = "operator"
    if header or field:
        by = "field and header" if header and field else "field" if field else "header"
    elif policy(settings, request) == "declared":
        raise _refused("consent", "it is not declared.")
    request.state.consent = Declaration(
        by=by, at=now(), text=given if isinstance(given, str) else None
    )


def _header(request: Request) -> bool | None:
    """Return what X-Consent says; None without one."""
    said = {
        word.strip().lower() for line in request.headers.getlist(HEADER) for word in line.split(",")
    }
    if said - {"yes", "no"}:
        raise InvalidInput(f"{HEADER}: must be yes or no.", field=HEADER)
    if len(said) > 1:
        raise _refused(HEADER, "it says both yes and no.")
    return None if not said else said == {"yes"}


def _no(field: str) -> ConsentRequired:
    return _refused(field, "it says that somebody shown has not agreed.")


def _refused(field: str, what: str) -> ConsentRequired:
    return ConsentRequired(
        f"{field}: {what} Nothing was fetched or kept. A face is used here only when everybody "
        f"shown has agreed to it: if so, {HOW}.",
        field=field,
        code="no_consent",
    )
