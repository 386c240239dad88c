"""The inventory as it is written and read."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.manifests.refs import Ref
from trimtab.targets.kubernetes.inventory import Entry, checksum, read, union, write

WEB = Ref("apps", "Deployment", "shop", "web")
ROLE = Ref("rbac.authorization.k8s.io", "ClusterRole", "", "system:shop")

names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
refs = st.builds(Ref, st.sampled_from(["", "apps", "batch"]), st.sampled_from(["Deployment", "Job"]), names, names)
entries = st.dictionaries(refs, st.sampled_from(["v1", "v2"]), max_size=20).map(
    lambda found: {ref: Entry(ref, version, "u") for ref, version in found.items()}
)


def test_ids_have_the_form_that_flux_writes():
    written = write({WEB: Entry(WEB, "v1"), ROLE: Entry(ROLE, "v1", "u1")}, "cluster")
    assert written["entries"] == [
        {"id": "_system__shop_rbac.authorization.k8s.io_ClusterRole", "v": "v1", "uid": "u1"},
        {"id": "shop_web_apps_Deployment", "v": "v1"},
    ]
    assert (written["format"], written["cluster"]) == (1, "cluster")


@given(entries)
def test_what_was_written_is_read_back(inventory):
    assert read(write(inventory, "c")["entries"]) == inventory


def test_an_inventory_written_by_flux_has_no_uids_and_is_read():
    assert read([{"id": "shop_web_apps_Deployment", "v": "v1"}]) == {WEB: Entry(WEB, "v1", "")}


@given(entries, entries)
def test_the_union_holds_everything_old_and_everything_new(old, new):
    merged = union(old, new.values())
    assert set(merged) == set(old) | set(new)


def test_the_union_keeps_a_known_uid_until_a_new_one_is_known():
    old = {WEB: Entry(WEB, "v1", "u1")}
    assert union(old, [Entry(WEB, "v1")])[WEB].uid == "u1"
    assert union(old, [Entry(WEB, "v1", "u2")])[WEB].uid == "u2"


@given(entries.filter(bool))
def test_a_list_that_lost_an_entry_has_another_checksum(inventory):
    written = write(inventory, "c")
    assert checksum(written["entries"][1:]) != written["checksum"]
