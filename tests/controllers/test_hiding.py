"""What is not told of values of Secrets, and of what was cut of them."""

from trimtab.controllers.hiding import NOTHING


def test_a_failure_has_no_word_that_was_cut_of_a_secret() -> None:
    hiding = NOTHING.following("1", ["hunter-two"]).cut({"hunt", "hu", "web-hunt-1", ""})
    told = hiding.failure('Deployment/shop/web-hunt-1: Invalid value: "hunt" (of hunter-two); hunting hu')
    assert told == 'Deployment/shop/++++++++: Invalid value: "++++++++" (of ++++++++); hunting hu'
    # What is said of a success is read by programs, and a word of it may be called the same.
    assert hiding.text("Applied revision: hunt@sha1:1") == "Applied revision: hunt@sha1:1"
    assert hiding.following("2", ["other-value"]).failure("of hunt") == "of ++++++++", "until they are known anew"
    assert not hiding.empty
