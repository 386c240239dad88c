"""The registry of the benchmark of images behaves as one with tokens; the rest takes a control plane and minutes."""

from bench import images
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.images.naming import parse
from trimtab.images.scanning import Scanner, ScanSpec
from trimtab.remotes.oci.wire import Access
from trimtab.remotes.outbound import Outbound


async def test_a_look_costs_a_token_once_and_one_request_each_time() -> None:
    registry = images.Registry(["1.0.0", "1.0.1"])
    transport, clock = AiohttpTransport(), SystemClock()
    async with images.served(registry):
        scanner = Scanner(Outbound(transport, clock), clock)
        named = parse(f"{registry.host}/team/app", insecure=True)
        spec = ScanSpec(named.repository, named.canonical, 10.0)
        for _ in range(3):
            listed = await scanner.tags(spec, Access())
            assert listed is not None
            assert listed.tags == ["1.0.0", "1.0.1"]
    await transport.close()
    assert registry.counts == {"others": 1, "tokens": 1, "scans": 3}


def test_it_measures_what_is_promised_unless_told_otherwise() -> None:
    told = images.parser().parse_args([])
    assert (told.parts, told.repositories, told.interval, told.many) == ("scans,many", 500, "1m", 20_000)
