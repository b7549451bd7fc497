"""The web page, without a browser: what it refers to is there, and what it sends is in the API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from avatar_pipeline.service.app import create_app
from avatar_pipeline.service.context import Service
from avatar_pipeline.service.dialects.face_migration import drawn_steps
from avatar_pipeline.service.routes.page import PAGES, STATIC
from avatar_pipeline.service.settings import Settings

SCRIPTS = {name: (PAGES / name).read_text() for name in STATIC if name.endswith(".js")}


INDEX = (PAGES / "index.html").read_text()


# The body of each task, by the name that POST /jobs knows it by.
BODIES = {
    "portrait": ("Generate", "FaceMigration"),
    "photograph": ("PortraitRequest",),
    "face-swap": ("FaceSwap",),
    "base-image": ("GenerateBaseImage",),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """The application without its worker: pages and openapi.json need none."""
    return TestClient(
        create_app(Settings(folder=tmp_path_factory.mktemp("service"))), base_url="http://127.0.0.1"
    )


@pytest.fixture(scope="module")
def schema(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def test_everything_that_the_pages_refer_to_is_served_here(client: TestClient) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.status_code == 200
        named = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert "/static/style.css" in named
        for address in named:
            assert address.startswith("/"), f"{path} needs another host: {address}"
            assert client.get(address).status_code == 200, address
    for name, script in SCRIPTS.items():
        for module in re.findall(r'from "\./([^"]+)"', script):
            assert module in STATIC, f"{name} imports {module}"


def test_nothing_but_the_list_is_served(client: TestClient) -> None:
    for name in ("docs.html", "..%2fapp.py", "%2e%2e/routes/page.py", "nothing.js"):
        assert client.get(f"/static/{name}").status_code == 404, name
    assert {path.name for path in PAGES.iterdir()} == {*STATIC, "index.html", "docs.html"}


def test_the_policy_admits_no_other_host_and_no_inline_code(client: TestClient) -> None:
    for path in ("/", "/docs", "/static/app.js"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    for page in (client.get("/").text, client.get("/docs").text):
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)


def test_text_of_the_service_is_never_html() -> None:
    for name, script in SCRIPTS.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script
        ), name


def test_ids_that_the_scripts_use_exist() -> None:
    there = re.findall(r'\bid="([^"]+)"', INDEX)
    assert len(there) == len(set(there))
    used = {
        name for script in SCRIPTS.values() for name in re.findall(r'byId\("([^"]+)"\)', script)
    }
    assert used and used - set(there) == set()
    # names that are put together: tabs and their sections, and fields with a preview
    for name in (*form_names(), "cartoon"):
        assert {name, f"tab-{name}"} <= set(there)
    for field in ("face", "source-face", "target"):
        assert {field, f"{field}-preview"} <= set(there)


def test_every_field_has_a_label() -> None:
    for field in re.findall(r"<(?:input|select|textarea)\b[^>]*>", INDEX):
        name = re.search(r'\bid="([^"]+)"', field)
        assert name and (
            f'for="{name[1]}"' in INDEX
            or re.search(
                r"<label[^>]*><span[^>]*>[^<]+</span><input "
                rf'id="{name[1]}"',
                INDEX,
            )
        ), field
    for name in re.findall(r'aria-(?:controls|labelledby|describedby)="([^"]+)"', INDEX):
        assert f'id="{name}"' in INDEX, name


def form_names() -> list[str]:
    """The sections that app.js has an entry for."""
    return re.findall(r'^  "?([a-z-]+)"?: async', SCRIPTS["app.js"], flags=re.MULTILINE)


def test_paths_and_fields_that_the_scripts_use_are_in_the_api(schema: dict[str, Any]) -> None:
    for path in re.findall(r'(?:json|send)\([`"](/[^`"?$]*)', SCRIPTS["api.js"]):
        known = [
            template
            for template in schema["paths"]
            if template == path or template.startswith(path.rstrip("/") + "/{")
        ]
        assert known or path == "/openapi.json", path
    job = schema["components"]["schemas"]["JobView"]["properties"]
    for name, script in SCRIPTS.items():
        for field in re.findall(r"\bjob\??\.(\w+)", script):
            assert field in job, f"{name}: job.{field}"
    picture = schema["components"]["schemas"]["Picture"]["properties"]
    for field in re.findall(r"\bpicture\??\.(\w+)", SCRIPTS["result.js"]):
        assert field in (*picture, "src", "video"), f"picture.{field}"


def test_what_the_operator_sets_of_the_preset_is_what_requests_that_say_nothing_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue: Any = None  # not asked
    service = Service(Settings(folder=tmp_path), queue)
    assert service.preset.steps == 12
    monkeypatch.setenv("AVATAR_PRESET_EMBEDDED_STEPS", "5")
    assert service.preset.steps == 5
    assert drawn_steps(service.preset, 4, 0) == (4, 0)


def test_what_the_forms_send_is_in_the_api(schema: dict[str, Any]) -> None:
    forms = re.split(
        r'^  "?(?:[a-z-]+)"?: async',
        SCRIPTS["app.js"].partition("const FORMS")[2].partition("\n};")[0],
        flags=re.MULTILINE,
    )[1:]
    assert set(BODIES) == set(form_names())
    for name, code in zip(form_names(), forms, strict=True):
        fields = {
            f for body in BODIES[name] for f in schema["components"]["schemas"][body]["properties"]
        }
        literal = " ".join(
            re.findall(r"(?:input|asked)(?: =|:) \{(.*?)\}[ ;]", code, flags=re.DOTALL)
        )
        sent = {
            *re.findall(r"(?:^|, ?)\s*(?!\.\.\.)(\w+)(?=:|,|\s*$)", literal),
            *re.findall(r"input\.(\w+) =", code),
        }
        assert len(sent) >= 3 and sent - fields == set(), (name, sent)


def test_the_api_page_shows_every_route_with_its_limits(
    client: TestClient, schema: dict[str, Any]
) -> None:
    page = client.get("/docs").text
    for path in schema["paths"]:
        assert f'<span class="path">{path}</span>' in page, path
    assert "integer, from 256 to 2048" in page and "<script" not in page
    assert "Prof. Dr. Uwe Hahne" in page  # the routes' own examples
    assert "generate, faceswap, portrait, face-avatar, base-image, face-migration" in page
