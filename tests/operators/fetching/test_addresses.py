"""Only public addresses may be connected to, however they are dressed up."""

import pytest

from operators.fetching.addresses import is_public, parse_networks


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:a00:1",
        "::127.0.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2002:c0a8:101::",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "5f00::1",
    ],
)
def test_addresses_inside_the_network_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.255.255",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


def test_an_allowed_network_opens_itself_and_nothing_else() -> None:
    allowed = parse_networks(["127.0.0.0/8", "fd12::/16"])
    assert is_public("127.1.2.3", allowed)
    assert is_public("::ffff:127.0.0.1", allowed)
    assert is_public("fd12::9", allowed)
    assert not is_public("10.0.0.1", allowed)
    assert not is_public("fd13::9", allowed)
    assert not is_public("2002:7f00:1::", allowed)


def test_what_is_no_numeric_address_or_network_is_an_error() -> None:
    for text in ("2130706433", "0x7f.1", "127.1", "localhost", ""):
        with pytest.raises(ValueError, match="address"):
            is_public(text)
    with pytest.raises(ValueError, match="host bits"):
        parse_networks(["10.0.0.1/8"])
