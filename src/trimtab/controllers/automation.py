"""What an ImageUpdateAutomation asks for, read strictly before anything is fetched. Pure.

What makes no sense is Terminal here, with Flux's reasons; a template that cannot be read is found before it is needed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trimtab.api import annotations, names
from trimtab.api.gvk import IMAGE_UPDATE_AUTOMATION
from trimtab.api.imageupdate import (
    ImageUpdateAutomation,
    PolicySelector,
    SelectorOperator,
    SelectorRequirement,
    SigningKey,
    UpdateStrategyName,
)
from trimtab.api.source import DEFAULT_BRANCH, GitRef, GitRepository
from trimtab.base.errors import Terminal
from trimtab.images.message import Message, RemovedField
from trimtab.images.templates.errors import TemplateError
from trimtab.manifests.selectors import Selects
from trimtab.manifests.windows import Windows

_BRANCHES: Final = "refs/heads/"
_SKIP_CI: Final = " [skip ci]"


@dataclass(frozen=True, slots=True)
class Automation:
    """What is asked for. `branch` is the one that is edited where the automation itself says; else the source does."""

    message: Message
    values: Mapping[str, str]
    selects: Selects
    windows: Windows
    author: tuple[str, str]
    signing_key: SigningKey | None
    path: str
    checkout: GitRef | None
    push_branch: str
    refspec: str
    options: Mapping[str, str] = field(default_factory=dict)
    each_policy: bool = False
    skip_ci: bool = False
    write_secret: str = ""
    forge: str = ""
    forge_secret: str = ""

    @classmethod
    def of(cls, item: ImageUpdateAutomation) -> "Automation":
        """Read `item`. Raises Terminal."""
        if found := annotations.complaints(IMAGE_UPDATE_AUTOMATION.kind, item.metadata.annotations):
            raise Terminal(
                names.Reason.VALIDATION_FAILED, f"the annotation {'; and '.join(found)}. Correct it, or remove it"
            )
        update, git, notes = item.spec.update, item.spec.git, item.metadata.annotations
        if update is None or update.strategy != UpdateStrategyName.SETTERS:
            strategy = update.strategy if update is not None else ""
            words = f"spec.update.strategy {strategy!a} is not known; there is Setters"
            raise Terminal(names.Reason.INVALID_UPDATE_STRATEGY, words)
        if git is None:
            raise _no_source("spec.git is missing: it says who commits, and to which branch")
        push = git.push
        branch = push.branch if push is not None else ""
        forge = notes.get(names.Annotation.PULL_REQUEST, "")
        if forge and not branch:
            raise _no_source(f"{names.Annotation.PULL_REQUEST} needs spec.git.push.branch: a branch of its own")
        return cls(
            message=_message(git.commit.message_template),
            values=git.commit.message_template_values,
            selects=selector(item.spec.policy_selector),
            windows=_windows(notes.get(names.Annotation.FREEZE, "")),
            author=(git.commit.author.name or "Trimtab", git.commit.author.email),
            signing_key=git.commit.signing_key,
            path=update.path,
            checkout=git.checkout.ref if git.checkout is not None else None,
            push_branch=branch,
            refspec=push.refspec if push is not None else "",
            options=push.options if push is not None else {},
            each_policy=notes.get(names.Annotation.COMMITS) == names.CommitMode.POLICY,
            skip_ci=notes.get(names.Annotation.SKIP_CI) == "true",
            write_secret=notes.get(names.Annotation.WRITE_SECRET, ""),
            forge=forge,
            forge_secret=notes.get(names.Annotation.PULL_REQUEST_SECRET, ""),
        )

    def branch(self, source: GitRepository) -> str:
        """The branch that is edited. Raises Terminal where that is no branch."""
        ref = self.checkout if self.checkout is not None else source.spec.ref
        if ref is None:
            return DEFAULT_BRANCH
        if ref.name.startswith(_BRANCHES) and not ref.commit:
            return ref.name.removeprefix(_BRANCHES)
        if ref.commit or ref.name or ref.semver or ref.tag:
            where = "spec.git.checkout.ref" if self.checkout is not None else f"spec.ref of {source.key}"
            raise _no_source(f"{where} is no branch, and commits are made on one: name it in spec.git.checkout.ref")
        return ref.branch or DEFAULT_BRANCH

    def finished(self, text: str) -> str:
        """The message with what builds are told to leave it alone by, if that is wanted."""
        head, line_end, rest = text.partition("\n")
        return f"{head}{_SKIP_CI}{line_end}{rest}" if self.skip_ci and _SKIP_CI.strip() not in text else text


def selector(wanted: PolicySelector | None) -> Selects:
    """Which labels are meant; all where nothing is said. Raises Terminal (InvalidPolicySelector)."""
    if wanted is None:
        return lambda _labels: True
    labels = dict(wanted.match_labels)
    terms = [_term(requirement) for requirement in wanted.match_expressions]

    def selects(given: Mapping[str, str]) -> bool:
        return all(given.get(key) == value for key, value in labels.items()) and all(term(given) for term in terms)

    return selects


def _term(requirement: SelectorRequirement) -> Callable[[Mapping[str, str]], bool]:
    key, values = requirement.key, frozenset(requirement.values)
    listed = requirement.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)
    if not key or listed is not bool(values):
        raise Terminal(
            names.Reason.INVALID_POLICY_SELECTOR,
            f"spec.policySelector: {requirement.operator or 'no operator'} of {key!a} needs a key, and "
            f"{'values' if listed else 'no values'}",
        )
    match requirement.operator:
        case SelectorOperator.IN:
            return lambda labels: labels.get(key) in values
        case SelectorOperator.NOT_IN:
            return lambda labels: labels.get(key) not in values
        case SelectorOperator.EXISTS:
            return lambda labels: key in labels
        case SelectorOperator.DOES_NOT_EXIST:
            return lambda labels: key not in labels
    raise Terminal(
        names.Reason.INVALID_POLICY_SELECTOR, f"spec.policySelector: {requirement.operator!a} is no operator"
    )


def _message(template: str) -> Message:
    try:
        return Message.of(template)
    except RemovedField as problem:
        raise Terminal(names.Reason.REMOVED_TEMPLATE_FIELD, f"spec.git.commit.messageTemplate, {problem}") from problem
    except TemplateError as problem:
        raise Terminal(names.Reason.UPDATE_FAILED, f"spec.git.commit.messageTemplate, {problem}") from problem


def _windows(text: str) -> Windows:
    try:
        return Windows.parse(text)
    except ValueError as problem:
        raise Terminal(names.Reason.VALIDATION_FAILED, f"{names.Annotation.FREEZE}: {problem}") from problem


def _no_source(message: str) -> Terminal:
    return Terminal(names.Reason.INVALID_SOURCE_CONFIGURATION, message)
