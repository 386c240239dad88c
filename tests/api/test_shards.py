from trimtab.api import shards


def test_the_leases_of_a_shard_have_the_names_that_flux_gives_them():
    # the first eight hexadecimal digits of SHA-256 over the selector as it was given
    assert shards.lease_name("x-leader-election", "sharding.fluxcd.io/key=shard1") == "x-leader-election-73fdc1be"
    assert shards.lease_name("x-leader-election", "") == "x-leader-election"
