"""Addresses that lead to somebody are replaced; versions, private addresses and code are not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.clean.personal_data import EMAIL, IPV4, IPV6, PersonalData, personal_data
from mlxllm.data.clean.prepared import Prepared


def replaced(text: str, **settings: bool) -> str:
    return personal_data(Prepared(text), PersonalData(**settings)).text


@pytest.mark.parametrize(
    "address",
    [
        "jane.doe@university.edu",
        "j@x.co",
        "JANE_DOE+news@Mail.Example-Host.co.uk",
        "müller@bücher.de",
        "o.k%x-1@sub.domain.museum",
        f"{'a' * 64}@long.org",
    ],
)
def test_emails_are_replaced_wherever_they_stand(address: str) -> None:
    for frame in ("{}", "Write to {}.", "<{}>", "mailto:{}?subject=x", "({}), or else", '"{}"', "信{}信", "a\n{}\nb"):
        assert replaced(frame.format(address)) == frame.format(EMAIL)


@pytest.mark.parametrize(
    "text",
    [
        "root@localhost is no address",
        "npm install left-pad@1.2.3",
        "y = x @ w + b; z = a@b",
        "@decorator.name\ndef f(): ...",
        "follow @jane.doe on it",
        "at 5 @ 3 dollars",
        "a@b",
        "sd_IN@devanagari.UTF-8",
        "user@192.168.0.1",
        f"x@{'a.' * 130}com",
    ],
)
def test_what_only_looks_like_an_email_stays(text: str) -> None:
    assert replaced(text) == text


@pytest.mark.parametrize("address", ["66.249.65.107", "8.8.8.8", "1.1.1.1", "223.5.5.5"])
def test_public_ipv4_addresses_are_replaced(address: str) -> None:
    for frame in (
        "{}",
        "from {} - - [",
        "http://{}:8080/x",
        "IP:{}",
        "ip={};",
        "root@{}",
        "[{}]",
        "{}/24",
        "is {}.",
        "{}-",
    ):
        assert replaced(frame.format(address)) == frame.format(IPV4)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.255", "127.0.0.1", "172.16.3.4", "0.0.0.0", "192.0.2.55", "224.0.0.0/4"]
)
def test_addresses_that_lead_to_nobody_stay(address: str) -> None:
    assert replaced(f"at {address} now") == f"at {address} now"


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 is out",
        "v1.2.3.4",
        "v. 1.2.3.4",
        '__version__ = "1.2.3.4"',
        '[assembly: AssemblyVersion("1.2.3.4")]',
        "<version>1.2.3.4</version>",
        '"version": "1.2.3.4",',
        "requests==1.2.3.4",
        "numpy >= 1.2.3.4",
        "gem 'x', '~> 1.2.3.4'",
        "package-1.2.3.4.tar.gz",
        "Mozilla/5.0 Gecko/20060909 Firefox/1.5.0.7",
        "rv:1.8.0.7",
        "upgrade to 1.2.3.4",
        "see section 1.2.3.4 below",
        "1.2.3.4-beta",
        "1.2.3.4.5",
        "1.2.3.4rc1",
        "300.2.3.4",
        "1.2.3",
        "08.8.8.8",
        "1..2.3.4",
        "1.0.8.8.in-addr.arpa",
    ],
)
def test_versions_and_sections_are_no_addresses(text: str) -> None:
    assert replaced(text) == text


def test_ipv6_addresses_are_replaced_where_they_are_public() -> None:
    assert replaced("ping 2607:f8b0:4005:805::200e ok") == f"ping {IPV6} ok"
    assert replaced("[2001:4860:4860:0:0:0:0:8888]:53") == f"[{IPV6}]:53"
    for text in ("fe80::1", "2001:db8::7", "std::vector", "at 2024:10:11", "dead::beef", "2000:1", "::1"):
        assert replaced(text) == text


def test_either_kind_can_be_left_alone() -> None:
    text = "x@example.net at 8.8.8.8"
    assert replaced(text, emails=False) == f"x@example.net at {IPV4}"
    assert replaced(text, ips=False) == f"{EMAIL} at 8.8.8.8"


PIECES = st.sampled_from(
    ["a", "B9", ".", "@", "-", ":", "com", "8.8.8.8", "1.2", " ", "2607:", "f8b0::1", "é", "\n", "_"]
)


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200))
def test_replacing_twice_is_replacing_once(text: str) -> None:
    once = replaced(text)
    assert replaced(once) == once


@pytest.mark.parametrize("unit", ["a", "@", "a@", "a@b.", "1.", "2001:", "8.8.8.8 ", "a.-"])
def test_time_grows_no_faster_than_the_text(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        begin = time.process_time()
        replaced(text)
        return time.process_time() - begin

    # Quadratic work would be 64 times as much.
    assert seconds(160_000) < 24 * max(seconds(20_000), 0.002)
