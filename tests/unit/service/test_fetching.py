"""Fetching, against real sockets. Only the system's resolver is stood in for, where a name has to
change its address.
"""

import asyncio
import base64
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from PIL import Image

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.imaging.images import MAX_BYTES
from avatar_pipeline.service.http.fetch import check_url, fetch_bytes, post_json
from avatar_pipeline.service.http.uploads import decode
from avatar_pipeline.service.settings import Settings
from tests.support.site import PNG, Site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(folder=tmp_path)


@pytest.fixture
def lab(tmp_path) -> Settings:
    return Settings(folder=tmp_path, allow_private_hosts=True, fetch_seconds=2)


async def fetched(url: str, settings: Settings) -> Image.Image:
    data = await fetch_bytes(
        url, field="image", settings=settings, limit=MAX_BYTES, accept="image/png"
    )
    return await decode(data, field="image")


def image(url: str, settings: Settings) -> Image.Image:
    return asyncio.run(fetched(url, settings))


REFUSED = {
    "loopback": "http://127.0.0.1/x.png",
    "localhost": "http://localhost/x.png",
    "localhost, absolute": "http://localhost./x.png",
    "another loopback": "http://127.9.9.9/",
    "nothing": "http://0.0.0.0/",
    "private 10": "http://10.0.0.1/",
    "private 172": "https://172.16.3.4/",
    "private 192": "http://192.168.1.1/",
    "carrier-grade NAT": "http://100.64.0.1/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata, Alibaba": "http://100.100.100.200/",
    "broadcast": "http://255.255.255.255/",
    "multicast": "http://224.0.0.1/",
    "test network": "http://192.0.2.7/",
    "integer": "http://2130706433/",
    "hexadecimal": "http://0x7f000001/",
    "hexadecimal in parts": "http://0x7f.0.0.1/",
    "octal": "http://0177.0.0.1/",
    "octal, all": "http://017700000001/",
    "short": "http://127.1/",
    "leading zeros": "http://127.000.000.001/",
    "circled digits": "http://①②⑦.⓪.⓪.①/",
    "ideographic dots": "http://127。0。0。1/",
    "IPv6 loopback": "http://[::1]/",
    "IPv6 nothing": "http://[::]/",
    "IPv6 link-local": "http://[fe80::1]/",
    "IPv6 zone": "http://[fe80::1%25eth0]/",
    "IPv6 zone, loopback": "http://[::1%25lo]/",
    "IPv6 unique local": "http://[fd00:ec2::254]/",
    "IPv4-mapped": "http://[::ffff:127.0.0.1]/",
    "IPv4-mapped metadata": "http://[::ffff:a9fe:a9fe]/",
    "IPv4-compatible": "http://[::7f00:1]/",
    "NAT64": "http://[64:ff9b::7f00:1]/",
    "NAT64, local": "http://[64:ff9b:1::a9fe:a9fe]/",
    "6to4": "http://[2002:7f00:1::]/",
    "Teredo": "http://[2001:0:7f00:1::80ff:fffe]/",
    "user name": "http://example.com@127.0.0.1/",
    "user name, public": "http://user:secret@example.com/",
    "backslash": "http://example.com\\@127.0.0.1/",
    "fragment": "http://127.0.0.1#@example.com/",
    "port": "http://example.com:22/",
    "port of redis": "http://example.com:6379/",
    "port zero": "http://example.com:0/",
    "port beyond": "http://example.com:99999/",
    "port no number": "http://example.com:80a/",
    "file": "file:///etc/passwd",
    "file with host": "file://localhost/etc/passwd",
    "gopher": "gopher://127.0.0.1:6379/_SET",
    "ftp": "ftp://example.com/x.png",
    "dict": "dict://127.0.0.1:11211/stat",
    "javascript": "javascript:alert(1)",
    "no scheme": "example.com/x.png",
    "no host": "http:///x.png",
    "scheme-relative": "//example.com/x.png",
    "empty": "",
    "line break": "http://example.com/\r\nHost: 127.0.0.1",
    "tab in the host": "http://exam\tple.com/",
    "zero byte": "http://example.com/\x00",
    "unclosed bracket": "http://[::1/",
    "long": "http://example.com/" + "a" * 9000,
    "long label": "http://" + "a" * 70 + ".com/",
    "unknown name": "http://no-such-name.invalid/x.png",
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_lead_to_a_public_host_is_refused_in_the_same_words(url, settings):
    with pytest.raises(InvalidInput) as caught:
        image(url, settings)
    assert caught.value.code == "url_refused"
    assert caught.value.field == "image"
    assert str(caught.value).startswith("image: ")
    assert "secret" not in str(caught.value)
    assert "public addresses" in str(caught.value)


def test_a_private_server_is_not_even_connected_to(site, settings):
    ported = settings.model_copy(update={"fetch_ports": (site.port,)})
    before = len(site.asked)
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
        with pytest.raises(InvalidInput):
            image(f"http://{host}:{site.port}/picture", ported)
    assert len(site.asked) == before


class Names:
    """A resolver that answers each lookup of a name with the next of its addresses, the last one
    from then on.
    """

    def __init__(self, monkeypatch, addresses: list[str]) -> None:
        self.lookups = 0
        real = socket.getaddrinfo

        def getaddrinfo(host, port, *rest, **more):
            if host != "rebinding.example":
                return real(host, port, *rest, **more)
            address = addresses[min(self.lookups, len(addresses) - 1)]
            self.lookups += 1
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in address.split(",")
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def connections(monkeypatch) -> list[str]:
    """Where this process connects to from now on; nothing leaves the machine."""
    found: list[str] = []

    async def sock_connect(self, sock, address):
        found.append(address[0])
        raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)
    return found


def test_a_name_that_changes_its_address_after_the_check_is_connected_to_at_the_checked_one(
    site, settings, monkeypatch
):
    names = Names(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    found = connections(monkeypatch)
    ported = settings.model_copy(update={"fetch_ports": (site.port,)})
    with pytest.raises(InvalidInput, match="could not be fetched: no connection"):
        image(f"http://rebinding.example:{site.port}/picture", ported)
    assert found == ["93.184.216.34"]  # not looked up again
    assert names.lookups == 1


def test_a_name_with_a_public_and_a_private_address_is_refused(settings, monkeypatch):
    Names(monkeypatch, ["93.184.216.34,127.0.0.1"])
    found = connections(monkeypatch)
    with pytest.raises(InvalidInput, match="public addresses only"):
        image("http://rebinding.example/picture", settings)
    assert found == []


def test_a_name_that_turns_private_between_two_requests_of_one_fetch_is_refused(
    site, lab, monkeypatch
):
    # loopback may be reached here, as the public site; the metadata address may not, and stands for
    # what is private
    names = Names(monkeypatch, ["127.0.0.1", "169.254.169.254"])
    before = len(site.asked)
    with pytest.raises(InvalidInput, match="public addresses only"):
        image(f"http://rebinding.example:{site.port}/redirect?/picture", lab)
    assert names.lookups == 2  # each request of a chain is looked up and checked
    assert len(site.asked) == before + 1


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "//169.254.169.254/",
        "http://0xa9fea9fe/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user@127.0.0.1/",
        "http://[bad/",
        "data:image/png;base64,AAAA",
    ],
)
def test_a_redirect_goes_through_the_same_check(target, site, lab):
    with pytest.raises(InvalidInput) as caught:
        image(f"{site.url}/redirect?{target}", lab)
    assert caught.value.code == "url_refused"


def test_redirects_are_followed_three_times(site, lab):
    chain = "/picture"
    for _ in range(3):
        chain = f"/redirect?{chain}"
    assert image(f"{site.url}{chain}", lab).size == (40, 30)
    with pytest.raises(InvalidInput, match="redirects more than 3 times"):
        image(f"{site.url}/redirect?{chain}", lab)
    with pytest.raises(InvalidInput, match="redirects more than 3 times"):
        image(f"{site.url}/loop", lab)


def test_bytes_are_capped_while_they_come(site, lab):
    with pytest.raises(InvalidInput) as caught:
        asyncio.run(
            fetch_bytes(
                f"{site.url}/endless?token=hidden",
                field="target_video",
                settings=lab,
                limit=2**20,
                accept="video/mp4",
            )
        )
    assert caught.value.code == "too_large"
    assert str(caught.value) == "target_video: what 127.0.0.1 sends is longer than 1 MiB."


def test_so_many_bytes_as_are_allowed_and_not_one_more(site, lab):
    def fetch(limit: int) -> bytes:
        return asyncio.run(
            fetch_bytes(
                f"{site.url}/picture", field="image", settings=lab, limit=limit, accept="*/*"
            )
        )

    assert fetch(len(PNG)) == PNG
    with pytest.raises(InvalidInput) as caught:
        fetch(len(PNG) - 1)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    "port", [0, 21, 22, 25, 79, 81, 442, 444, 3306, 5432, 6379, 8000, 8080, 8443, 9200, 65535]
)
def test_only_the_ports_of_the_settings_are_fetched_from(port, settings):
    with pytest.raises(InvalidInput) as caught:
        check_url(f"http://example.com:{port}/", field="image", settings=settings)
    assert caught.value.code == "url_refused"
    for allowed in (
        "http://example.com/",
        "http://example.com:80/",
        "https://example.com:443/",
        "https://example.com/",
    ):
        check_url(allowed, field="image", settings=settings)
    if port:
        check_url(
            f"http://example.com:{port}/",
            field="image",
            settings=settings.model_copy(update={"fetch_ports": (port,)}),
        )


@pytest.mark.parametrize("path", ["/drip", "/silent"])
def test_one_clock_runs_for_everything(path, site, lab):
    hurried = lab.model_copy(update={"fetch_seconds": 0.4})
    with pytest.raises(InvalidInput, match="it took more than 0.4 seconds|it does not answer"):
        image(f"{site.url}{path}", hurried)


def test_a_resolver_that_does_not_answer_is_not_waited_for(lab, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20))
    hurried = lab.model_copy(update={"fetch_seconds": 0.3})

    async def fetch() -> float:
        began = time.monotonic()
        with pytest.raises(InvalidInput, match="it took more than"):
            await fetched("http://slow.example/x.png", hurried)
        released.set()
        return time.monotonic() - began

    assert asyncio.run(fetch()) < 15


def test_nothing_is_sent_but_the_request(site, lab, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert image(f"{site.url}/picture", lab).getpixel((5, 5)) == (200, 100, 50)
    _, _, headers, _ = site.asked[-1]
    assert set(headers) == {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent"}
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/missing", "it answers 404"),
        ("/gzip", "a compressed body"),
        ("/redirect?/missing", "it answers 404"),
    ],
)
def test_what_is_no_picture_is_said_with_the_host_only(path, said, site, lab):
    with pytest.raises(InvalidInput, match=said) as caught:
        image(f"{site.url}{path}#signature=secret", lab)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1 could not be fetched" in str(caught.value)


def test_data_addresses(settings):
    inline = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert image(inline, settings).size == (40, 30)
    assert image("data:image/png," + "".join(f"%{byte:02x}" for byte in PNG), settings).size == (
        40,
        30,
    )
    for wrong, said in (
        ("data:image/png;base64,%%%", "not valid base64"),
        ("data:image/png;base64", "comma"),
        ("data:image/png;base64,", "empty"),
        ("data:text/html,<script>", "is not a picture"),
    ):
        with pytest.raises(InvalidInput, match=said) as caught:
            image(wrong, settings)
        assert caught.value.field == "image"
    with pytest.raises(InvalidInput, match="more than 1 MiB"):
        asyncio.run(
            fetch_bytes(
                "data:," + "x" * (2**20 + 1),
                field="image",
                settings=settings,
                limit=2**20,
                accept="*/*",
            )
        )


def test_webhooks_have_the_same_protection_and_follow_no_redirects(site, lab, settings):
    async def post(url: str, settings: Settings) -> int:
        return await post_json(url, b'{"id": 1}', {"X-Signature": "abc"}, settings)

    assert asyncio.run(post(f"{site.url}/picture", lab)) == 200
    command, _, headers, body = site.asked[-1]
    assert (command, body, headers["X-Signature"], headers["Content-Type"]) == (
        "POST",
        b'{"id": 1}',
        "abc",
        "application/json",
    )
    before = len(site.asked)
    assert asyncio.run(post(f"{site.url}/redirect?/picture", lab)) == 302
    assert len(site.asked) == before + 1
    for url in ("http://169.254.169.254/", f"{site.url}/picture"):
        with pytest.raises(InvalidInput, match=r"^webhook: .* public addresses only"):
            asyncio.run(post(url, settings))
    with pytest.raises(InvalidInput, match=r"^webhook: "):
        check_url("http://10.0.0.1/", field="webhook", settings=settings)
    check_url("https://example.com/hook", field="webhook", settings=settings)
