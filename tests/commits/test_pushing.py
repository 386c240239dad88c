"""What git and servers say of a push, read in the words that they use."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.base.process import Completed
from trimtab.commits.pushing import Fate, arguments, extra_target, option_words, told


def status(flag: str, summary: str, ref: str = "refs/heads/main") -> bytes:
    return f"To https://git.example.org/apps\n{flag}\t{'1' * 40}:{ref}\t{summary}\nDone\n".encode()


@pytest.mark.parametrize(
    ("stdout", "stderr", "fate", "words"),
    [
        (status(" ", "1111111..2222222"), "", Fate.DONE, ""),
        (status("*", "[new branch]"), "remote: Create a pull request\n", Fate.DONE, ""),
        (status("!", "[rejected] (stale info)"), "error: failed to push some refs to 'x'\n", Fate.MOVED, "stale info"),
        (status("!", "[rejected] (fetch first)"), "", Fate.MOVED, "fetch first"),
        (
            status("!", "[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)"),
            "",
            Fate.MOVED,
            "cannot lock ref",
        ),
        (
            status("!", "[remote rejected] (protected branch hook declined)"),
            "remote: error: GH006: Protected branch update failed for refs/heads/main.\n",
            Fate.REFUSED,
            "GH006",
        ),
        (
            status("!", "[remote rejected] (pre-receive hook declined)"),
            "remote: GitLab: You are not allowed to push code to protected branches on this project.\n",
            Fate.REFUSED,
            "protected branches",
        ),
        (b"", "fatal: unable to access 'https://h/x/': The requested URL returned error: 403\n", Fate.READ_ONLY, "403"),
        (
            b"",
            "ERROR: The key you are authenticating with has been marked as read only.\nfatal: Could not read\n",
            Fate.READ_ONLY,
            "read only",
        ),
        (b"", "remote: Permission to o/apps.git denied to robot.\nfatal: unable to\n", Fate.READ_ONLY, "denied to"),
        (
            b"",
            "remote: ERROR: This deploy key does not have write access to this project.\n",
            Fate.READ_ONLY,
            "write access",
        ),
        (
            b"",
            "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://h/x/'\n",
            Fate.FAILED,
            "Auth",
        ),
        (b"", "git@h: Permission denied (publickey).\nfatal: Could not read\n", Fate.FAILED, "publickey"),
        (b"", "fatal: the remote end hung up unexpectedly\n", Fate.FAILED, "hung up"),
    ],
    ids=lambda value: value if isinstance(value, Fate) else "",
)
def test_a_push_is_what_the_other_side_says(stdout: bytes, stderr: str, fate: Fate, words: str):
    verdict = told(Completed(0 if fate is Fate.DONE else 1, stdout, stderr.encode()), "main")
    assert verdict.fate is fate
    assert words in verdict.said


def test_much_that_a_server_says_hides_nothing():
    said = "remote: blah\n" * 5000
    done = Completed(1, status("!", "[rejected] (stale info)"), said.encode())
    assert told(done, "main").fate is Fate.MOVED


def test_a_second_reference_that_fails_is_a_note_and_no_failure():
    stdout = status(" ", "1..2") + status("!", "[rejected] (non-fast-forward)", "refs/heads/copy")
    verdict = told(Completed(1, stdout, b""), "main")
    assert verdict.fate is Fate.DONE
    assert "refs/heads/copy: [rejected]" in verdict.note


def test_no_argument_forces_without_the_old_value():
    words = arguments("https://h/x", "1" * 40, "main", "2" * 40, "refs/heads/copy", option_words({"ci.skip": ""}))
    assert [word for word in words if "force" in word] == [f"--force-with-lease=refs/heads/main:{'2' * 40}"]
    assert not any(word.startswith("+") for word in words)
    assert words[words.index("--") + 1] == "https://h/x"
    assert "--push-option=ci.skip" in words


def test_a_refspec_means_the_new_commit_and_never_forces():
    assert extra_target("", "main") == ""
    assert extra_target("HEAD:copy", "main") == "refs/heads/copy"
    assert extra_target("refs/heads/main:refs/heads/main", "main") == ""
    assert extra_target("main:refs/tags/live", "main") == "refs/tags/live"
    for refspec in ("+main:x", ":x", "main:", "other:x", "main:refs/heads/a..b", "main:refs/pull/1/head", "--all"):
        with pytest.raises(Terminal):
            extra_target(refspec, "main")


def test_an_option_with_a_line_break_is_refused():
    with pytest.raises(Terminal):
        option_words({"x": "a\nb"})
