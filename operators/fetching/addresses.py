"""Which addresses a URI out of a manifest may make this machine connect to: public ones, and what the run allows."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Cidr = IPv4Network | IPv6Network

# Spelled out, not asked of `ipaddress.is_global`: its answer changes between Python releases, and it calls multicast
# global.
_REFUSED_V4 = tuple(
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent, at an address that looks public
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(IPv6Network(cidr) for cidr in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")


def parse_networks(cidrs: Sequence[str]) -> tuple[Cidr, ...]:
    """Networks from strings like `10.0.0.0/8` or `::1`. Raises `ValueError` that names the wrong one."""
    return tuple(ip_network(cidr) for cidr in cidrs)


def is_public(address: str | Address, allowed: Sequence[Cidr] = ()) -> bool:
    """Whether a connection to this address may be opened.

    Refused: loopback, link-local, private, carrier-grade NAT, multicast, documentation, reserved and metadata
    addresses, also inside v4-mapped, NAT64 and 6to4 IPv6 addresses, unless a network of `allowed` holds the address.
    Raises `ValueError` where `address` is not a numeric address.
    """
    ip = ip_address(address) if isinstance(address, str) else address
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed):
        return True
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _REFUSED_V4)
    if ip in _NAT64:
        return is_public(IPv4Address(int(ip) & 0xFFFFFFFF))
    if ip.sixtofour:
        return is_public(ip.sixtofour)
    return ip in _UNICAST_V6 and not any(ip in network for network in _REFUSED_V6)
