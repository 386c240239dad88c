"""Which test shows which row of the tables of hostile input (SECURITY.md, 1.3 and 1.4), as far as sources are meant.

The list is kept true: a test that is named here and is not there any more fails, and so does a row without one.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "merge commit signed, unsigned ancestor inside": (
        "sources/test_trust.py::test_a_signed_merge_does_not_cover_an_unsigned_commit_inside_where_all_are_demanded",
        "e2e/test_verification.py::test_strict_judges_every_commit_since_the_last_verified_one",
    ),
    'allowed_signers namespaces="file"': (
        "sources/test_trust.py::test_a_key_for_another_purpose_is_refused",
        "crypto/test_ssh.py::test_a_signature_for_another_purpose_is_refused",
    ),
    "signer principal other than committer": (
        "sources/test_trust.py::test_who_signed_is_the_key_and_not_what_the_commit_says",
        "e2e/test_verification.py::test_openpgp_keys_are_trusted_as_well",
    ),
    "key valid-before 2020, committer date forged to 2019": (
        "sources/test_trust.py::test_a_backdated_commit_by_an_expired_key_is_judged_by_when_it_was_first_seen",
        "controllers/test_verification.py::test_a_commit_that_was_held_is_judged_by_when_it_was_first_seen",
        "crypto/test_openpgp.py::test_an_expired_key_is_judged_by_when_we_saw_it_not_by_what_the_signature_claims",
    ),
    "signed tag object stored under another name": (
        "sources/test_trust.py::test_a_signed_tag_under_another_name_is_refused",
    ),
    "signed tag on unsigned commit": (
        "sources/test_trust.py::test_a_signed_tag_is_accepted_also_on_an_unsigned_commit_if_only_the_tag_counts",
        "e2e/test_verification.py::test_tags_are_judged_by_their_own_signature_and_name",
    ),
    "lightweight tag in Tag mode": ("sources/test_trust.py::test_a_lightweight_tag_cannot_be_good_and_says_so",),
    "branch moved back to an older signed commit": (
        "sources/test_trust.py::test_a_branch_that_went_back_is_refused_unless_that_commit_is_allowed",
        "e2e/test_verification.py::test_a_rewound_branch_is_held_until_exactly_that_commit_is_allowed",
    ),
    "git replace": (
        "sources/test_trust.py::test_a_replaced_object_is_judged_as_what_was_pushed",
        "sources/test_git.py::test_replaced_objects_are_not_believed",
    ),
    "no keys in the Secret": ("crypto/test_ssh.py::test_a_secret_without_keys_says_what_to_put_in",),
    "malformed key, then good key": (
        "crypto/test_ssh.py::test_one_wrong_line_spoils_the_file_and_is_named",
        "e2e/test_verification.py::test_missing_and_malformed_keys_publish_nothing_and_heal",
        "registry/test_pull.py::test_without_a_usable_key_nothing_is_accepted",
    ),
    "PGP signature, SSH keys only": (
        "sources/test_trust.py::test_openpgp_and_ssh_are_told_apart",
        "crypto/test_openpgp.py::test_a_family_without_keys_is_refused_by_name",
    ),
    "two gpgsig headers": ("sources/test_trust.py::test_a_commit_with_two_signatures_is_refused",),
    "empty, truncated, data after the end, tampered": (
        "sources/test_trust.py::test_a_commit_whose_content_or_signature_was_changed_is_refused",
        "sources/test_trust.py::test_a_tag_with_text_after_its_signature_or_two_of_them_is_refused",
        "crypto/test_ssh.py::test_a_malformed_signature_is_refused_with_the_reason",
        "crypto/test_openpgp.py::test_a_malformed_signature_is_refused_with_the_reason",
    ),
    "revoked or removed key while the artifact is cached": (
        "crypto/test_openpgp.py::test_a_revoked_key_is_refused_whatever_the_signature_claims",
        "e2e/test_verification.py::test_a_removed_key_takes_the_verification_away_and_holds",
        "controllers/test_verification.py::test_the_commit_in_force_is_judged_again_when_the_keys_change",
    ),
    "SHA-1 collision pair": ("sources/test_rows.py::test_nobody_hashes_by_sha1",),
    "cosign: missing annotation": (
        "registry/test_pull.py::test_what_is_not_signed_or_not_for_this_digest_by_this_key_is_refused",
        "registry/test_keyless.py::test_a_missing_annotation_is_refused",
    ),
    "cosign: another repository's signature on the same digest": (
        "registry/test_keyless.py::test_somebody_elses_signature_on_the_same_digest_is_refused_by_name",
        "e2e/test_oci.py::test_only_what_a_trusted_identity_signed_is_applied",
    ),
    "cosign: identity not anchored, or empty": (
        "registry/test_keyless.py::test_expressions_are_anchored_at_both_ends_however_they_are_written",
        "registry/test_keyless.py::test_an_expression_that_anybody_would_match_is_refused",
        "e2e/test_oci.py::test_a_demand_that_proves_nothing_is_refused_and_nothing_is_pulled",
    ),
    "cosign: expired certificate without Rekor's time": (
        "registry/test_keyless.py::test_a_missing_annotation_is_refused",
        "registry/test_keyless.py::test_the_certificate_has_to_be_valid_when_the_log_saw_it_not_today",
    ),
    "cosign: bundle for another digest": (
        "registry/test_keyless.py::test_a_signature_of_another_digest_is_refused",
        "registry/test_fail_closed.py::test_a_good_signature_of_another_digest_is_not_taken_for_this_one",
    ),
    "accepted: ed25519, ecdsa, rsa of 2048 and more": (
        "crypto/test_ssh.py::test_every_kind_of_key_is_accepted_and_its_owner_named",
        "sources/test_trust.py::test_what_git_itself_thinks_of_the_good_ones",
    ),
    "accepted: keys in hardware": (
        "crypto/test_ssh.py::test_keys_in_hardware_are_accepted_as_ssh_keygen_accepts_them",
    ),
    "accepted: OpenPGP rsa and ed25519": (
        "crypto/test_openpgp.py::test_rsa_and_ed25519_are_accepted_and_their_owner_named",
    ),
    "accepted: cosign by keys, by bundles and by identities": (
        "registry/test_pull.py::test_a_signature_by_one_of_the_keys_is_accepted_and_the_key_is_named",
        "registry/test_keyless.py::test_a_bundle_by_a_key_is_accepted_as_well",
        "registry/test_keyless.py::test_both_layouts_are_accepted_and_who_signed_is_named",
    ),
    "accepted: notation": ("registry/test_notation.py::test_a_signature_by_every_kind_of_key_is_accepted",),
}

ARCHIVES_AND_REGISTRIES: Mapping[str, tuple[str, ...]] = {
    "tar traversal": (
        "artifacts/test_hostile_archives.py::test_a_hostile_archive_is_refused_by_name_and_leaves_nothing",
    ),
    "links in git trees and artifacts": (
        "artifacts/test_hostile_archives.py::test_links_and_names_that_collide_are_left_out_and_listed",
        "sources/test_git.py::test_links_submodules_and_case_collisions_are_left_out_and_listed",
        "render/test_render.py::test_a_link_that_would_be_read_is_named_wherever_it_is",
        "e2e/test_interchange.py::test_a_manifest_that_became_a_link_is_named_and_deletes_nothing",
    ),
    "OCI": (
        "e2e/test_hostile_sources.py::test_a_registry_that_lies_is_refused",
        "e2e/test_hostile_sources.py::test_a_list_of_tags_that_goes_on_elsewhere_or_for_ever_is_refused",
        "remotes/test_oci_manifest.py::test_what_two_readers_could_read_differently_or_leads_elsewhere_is_refused",
        "registry/test_hostile.py::test_more_tags_than_the_limit_are_an_error_and_never_a_part_of_them",
        "sources/test_interrupted.py::test_a_tag_that_moves_between_the_look_and_the_pull_gives_what_was_seen",
    ),
    "bearer realm SSRF": (
        "remotes/test_oci_challenge.py::test_a_realm_that_leads_into_a_network_or_can_be_misread_is_refused_by_name",
        "registry/test_hostile.py::test_a_realm_in_a_network_nearby_is_named_and_gets_no_packet",
        "registry/test_hostile.py::test_a_registry_that_is_never_content_is_asked_twice_and_not_for_ever",
        "e2e/test_hostile_sources.py::test_a_registry_that_lies_is_refused",
    ),
    "fail-open": (
        "registry/test_fail_closed.py::test_a_registry_that_fails_has_proven_nothing",
        "registry/test_fail_closed.py::test_the_older_tag_fails_closed_as_well",
        "sources/test_trust.py::test_a_remote_that_fails_during_the_judgement_proves_nothing",
    ),
    "kustomize": (
        "render/test_references.py::test_what_is_not_a_path_inside_the_artifact_is_refused_before_anything_starts",
        "render/test_references.py::test_programs_and_containers_are_refused",
    ),
}

GIT: Mapping[str, tuple[str, ...]] = {
    "option injection": (
        "e2e/test_hostile_sources.py::test_addresses_that_are_options_programs_or_other_hosts",
        "e2e/test_hostile_sources.py::test_references_that_are_options_or_expressions",
        "sources/test_git.py::test_a_reference_that_git_would_take_for_an_option_or_an_expression_is_refused",
        "remotes/test_address.py::test_names_of_references_that_are_refused",
    ),
    "scheme": (
        "e2e/test_hostile_sources.py::test_addresses_that_are_options_programs_or_other_hosts",
        "remotes/test_address.py::test_refused_with_the_way_out",
        "e2e/test_bad_input.py::test_credentials_are_never_sent_over_plain_http",
    ),
    "redirect": (
        "e2e/test_hostile_sources.py::test_redirects_to_other_hosts_and_schemes",
        "remotes/test_refs.py::test_a_redirect_to_another_host_is_refused_and_not_contacted",
    ),
    "LFS": (
        "e2e/test_hostile_sources.py::test_a_pointer_of_lfs_among_the_manifests_is_named_and_not_applied",
        "e2e/test_hostile_sources.py::test_files_that_steer_git_change_nothing_and_ask_nobody",
        "render/test_render.py::test_a_pointer_of_lfs_is_named_wherever_it_is_read",
    ),
    "attributes": (
        "e2e/test_hostile_sources.py::test_files_that_steer_git_change_nothing_and_ask_nobody",
        "sources/test_git.py::test_attributes_change_nothing",
    ),
    "names in trees": (
        "e2e/test_hostile_sources.py::test_trees_with_names_that_lead_out_or_orders_for_git",
        "sources/test_git.py::test_hostile_names_make_the_commit_unusable_and_keep_the_last_one",
    ),
    "size": (
        "sources/test_git.py::test_limits_of_size_and_number",
        "sources/test_git.py::test_a_pack_that_is_too_large_is_cut_off",
        "sources/test_git.py::test_paths_and_depths_beyond_the_limits_make_the_commit_unusable",
        "sources/test_git.py::test_a_hundred_thousand_references_cost_one_look",
        "sources/test_git.py::test_a_delta_that_unpacks_to_gigabytes_is_stopped",
        "remotes/test_refs.py::test_a_list_without_end_is_cut_off",
    ),
    "ssh": (
        "sources/test_git.py::test_ssh_refuses_what_it_cannot_trust",
        "sources/test_git.py::test_ssh_knows_the_host_by_hashed_and_wildcard_lines_too",
        "sources/test_git.py::test_a_host_key_that_changed_is_never_taken_and_waits_for_a_person",
        "sources/test_git.py::test_a_host_that_proves_itself_by_a_weak_key_is_refused",
    ),
    "interrupted": (
        "sources/test_interrupted.py::test_a_fetch_that_is_cut_off_anywhere_is_told_and_the_next_one_succeeds",
        "sources/test_interrupted.py::test_a_pull_that_is_cut_off_anywhere_is_told_and_the_next_one_succeeds",
        "sources/test_interrupted.py::test_a_full_disk_is_told_and_the_next_pass_succeeds",
        "sources/test_git.py::test_sigkill_at_any_time_and_start_again",
        "sources/test_git.py::test_the_revision_reported_is_the_one_that_came",
        "e2e/test_hostile_sources.py::test_a_disk_that_cannot_take_the_artifact_is_told_and_heals",
    ),
}

ROWS = [(row, names) for table in (SIGNATURES, ARCHIVES_AND_REGISTRIES, GIT) for row, names in table.items()]


@cache
def named_in(file: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize(("row", "names"), ROWS, ids=[row for row, _ in ROWS])
def test_every_row_has_its_tests(row: str, names: tuple[str, ...]) -> None:
    assert names, row
    for name in names:
        file, _, test = name.partition("::")
        assert test in named_in(TESTS / file), f"{row}: {name} is not there"


def test_nobody_hashes_by_sha1() -> None:
    """Two files with the same SHA-1 can be made. Names of git objects are computed by git, which notices such pairs."""
    source = TESTS.parent / "src"
    used = re.compile(r"hashlib\.sha1|hashlib\.md5|\bSHA1\(|new\(.sha1|\bMD5\(")
    found = [str(file.relative_to(source)) for file in source.rglob("*.py") if used.search(file.read_text())]
    # A message of OpenPGP has one inside what is encrypted (RFC 4880, 5.14), and statuses of Bitbucket are called so by
    # Flux and have to be found again: there is no choice, and no enemy.
    assert sorted(found) == ["trimtab/notify/providers/bitbucket.py", "trimtab/sops/openpgp.py"]
