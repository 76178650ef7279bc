"""Public and private addresses and hosts, and the URLs that are refused."""

from __future__ import annotations

import pytest

from service.addresses import is_image_url, is_public, is_public_host, is_public_image_url
from service.webhooks.sender import url_problem

PRIVATE = [
    *(
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
    ),
    *("100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
    *(
        "255.255.255.255",
        "192.88.99.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
    ),
    # IPv4 addresses in IPv6 addresses: mapped, 6to4, compatible, NAT64; then Teredo and documentation.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::", "::7f00:1", "64:ff9b::a00:1"),
    *(
        "64:ff9b:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "100::1",
        "",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
    ),
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "2002:808:808::",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.com/hook?x=1", None),
        ("https://example.com:8443/", None),
        ("https://1.1.1.1/", None),
        ("https://[2606:4700:4700::1111]/", None),
        ("http://example.com/", "must be an https:// URL"),
        ("ftp://example.com/", "must be https://host/path"),
        ("example.com/hook", "must be https://host/path"),
        ("https://", "must be https://host/path"),
        ("https://user:secret@example.com/", "must be https://host/path"),
        ("https://example.com/#fragment", "must be https://host/path"),
        ("https://example.com:99999/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://127.0.0.1/", "127.0.0.1 is at a private address"),
        ("https://10.0.0.1:8443/", "10.0.0.1 is at a private address"),
        ("https://[::1]/", "::1 is at a private address"),
        ("https://[::ffff:169.254.169.254]/", "is at a private address"),
        ("https://2130706433/", "is at a private address"),
        ("https://127.1/", "is at a private address"),
        # A dot at the end, and other notations of the same address, which resolvers accept.
        ("https://127.0.0.1./", "is at a private address"),
        ("https://2130706433./", "is at a private address"),
        ("https://0x7f.1/", "is at a private address"),
        ("https://0x7f000001/", "is at a private address"),
        ("https://0177.0.0.1/", "is at a private address"),
        ("https://127.0.0.0x1/", "is at a private address"),
        ("https://１２７.0.0.1/", "is at a private address"),
        ("https://127。0。0。1/", "is at a private address"),
        ("https://%31%32%37.0.0.1/", "is at a private address"),
        ("https://127.0.0.1%2e/", "is at a private address"),
        ("https://[fe80::1%25eth0]/", "is at a private address"),
        ("https://[64:ff9b::7f00:1]/", "is at a private address"),
        ("https://localhost/", "is at a private address"),
        ("https://LOCALHOST./", "is at a private address"),
        ("https://api.localhost/", "is at a private address"),
        ("https://metadata.google.internal./", "is at a private address"),
        ("https://printer.local/", "is at a private address"),
        ("https://router.home.arpa/", "is at a private address"),
        ("https://postgres/", "is at a private address"),
        ("https://ollama.default.svc/", "is at a private address"),
        ("https://a..b/", "is at a private address"),
        ("https://example.com./", None),
        ("https://bücher.example/", None),
    ],
)
def test_urls(url: str, why: str | None) -> None:
    problem = url_problem(url, allow_private=False)
    assert problem is None if why is None else problem is not None and why in problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://localhost/", "https://[::1]/hook"])
def test_if_private_addresses_are_allowed_so_is_plain_http(url: str) -> None:
    assert url_problem(url, allow_private=False) is not None
    assert url_problem(url, allow_private=True) is None


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700:4700::1111", "example.com", "a_b.example.com.", "localhost.com"]
)
def test_public_hosts(address: str) -> None:
    assert is_public_host(address)


@pytest.mark.parametrize(
    "host", ["", ".", "intranet", "01.1.1.1", "1.1.1.1.", "1.1.1", "0x", "a b.com", "exa%6dple.com"]
)
def test_hosts_that_are_not_public(host: str) -> None:
    assert not is_public_host(host)


IMAGES = [
    ("https://example.com/a.png", True, True),
    ("HTTP://example.com:8080/a?b#c", True, True),
    ("data:image/png;base64,iVBORw0KGgo=", True, True),
    ("DATA:image/svg+xml,%3Csvg/%3E", True, True),
    ("http://169.254.169.254/latest/meta-data/", True, False),
    ("http://127.0.0.1./", True, False),
    ("http://localhost:11434/", True, False),
    ("http://user@[::1]/", True, False),
    ("file:///etc/passwd", False, False),
    ("ftp://example.com/a.png", False, False),
    ("gopher://example.com/", False, False),
    ("data:text/html;base64,PGI+", False, False),
    ("data:image/", False, False),
    ("data:,x", False, False),
    ("javascript:alert(1)", False, False),
    ("//example.com/a.png", False, False),
    ("example.com/a.png", False, False),
    ("https://", False, False),
    ("https:///etc/passwd", False, False),
    ("https://exam\tple.com/", False, False),
    (" https://example.com/", False, False),
    ("https://example.com\\@127.0.0.1/", False, False),
    ("https://example.com:x/", False, False),
]


@pytest.mark.parametrize(("url", "is_image", "is_public_image"), IMAGES)
def test_urls_of_images(url: str, is_image: bool, is_public_image: bool) -> None:
    assert (is_image_url(url), is_public_image_url(url)) == (is_image, is_public_image)
