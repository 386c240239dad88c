"""A secret from its shares (Shamir, over the field of 256 elements that AES has too).

The shares are those of a data key, which a person holds who can decrypt anyway: nothing here needs to run in constant
time.
"""

from collections.abc import Sequence

from trimtab.sops.errors import Damaged


def combine(shares: Sequence[bytes]) -> bytes:
    """The secret that `shares` are of. The last byte of each says where it was taken. Raises Damaged."""
    sizes = {len(share) for share in shares}
    if len(shares) < 2 or len(sizes) != 1 or sizes.pop() < 2:
        raise Damaged("the parts of its data key do not belong together")
    places = [share[-1] for share in shares]
    if len(set(places)) != len(places) or 0 in places:
        raise Damaged("two parts of its data key are the same")
    weights = [_weight(place, [other for other in places if other != place]) for place in places]
    secret = bytearray(len(shares[0]) - 1)
    for share, weight in zip(shares, weights, strict=True):
        for at, byte in enumerate(share[:-1]):
            secret[at] ^= _times(byte, weight)
    return bytes(secret)


def _weight(place: int, others: Sequence[int]) -> int:
    """How much the share at `place` counts at zero, where the secret is."""
    weight = 1
    for other in others:
        weight = _times(weight, _times(other, _inverse(place ^ other)))
    return weight


def _times(first: int, second: int) -> int:
    product = 0
    while second:
        if second & 1:
            product ^= first
        first <<= 1
        if first & 0x100:
            first ^= 0x11B
        second >>= 1
    return product


def _inverse(number: int) -> int:
    power = 1
    for _ in range(254):
        power = _times(power, number)
    return power
