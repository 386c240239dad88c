"""Encrypted files opened as a whole: as bytes for who reads them as files, or proven for what was built of them.

All or nothing: every value has to open and the MAC over all of them to fit, else nothing of the file is used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from trimtab.manifests.emit import to_yaml
from trimtab.manifests.refs import Body
from trimtab.sops import jsontext, linetext, yamltext
from trimtab.sops.cipher import Cipher, Comment, Plain, is_sealed
from trimtab.sops.errors import Damaged, Locked, NoKey, Undecryptable
from trimtab.sops.formats import MAX_BYTES, Format
from trimtab.sops.keyring import Keyring
from trimtab.sops.leaves import Leaf, into_tree, of_tree, opened
from trimtab.sops.linetext import Lines
from trimtab.sops.metadata import BLOCK, Metadata

_TREES: Final = (Format.YAML, Format.JSON)
_NO_BLOCK: Final = "it has no sops block"


class Proven(NamedTuple):
    """A file, or a document of one, whose MAC fits: what was built of it may be opened with its key."""

    mac: str
    metadata: Metadata
    cipher: Cipher

    def open(self, body: Body) -> Body:
        """`body`, built of the file, with its values opened and without the sops block. Raises Damaged.

        What an overlay has added is plain and stays so; what is sealed has to open.
        """
        tree = {key: value for key, value in body.items() if key != BLOCK}
        plains = [self._open(leaf) for leaf in of_tree(tree)]
        opened_body: Body = _carried(into_tree(tree, iter(plains)))
        return opened_body

    def _open(self, leaf: Leaf) -> Plain:
        value = leaf.value
        if not isinstance(value, str) or not is_sealed(value):
            return value
        sealed = self.metadata.sealed
        return self.cipher.open(value, leaf.place) if sealed is None or sealed(leaf.path) else value


async def open_file(data: bytes, file: str, written: Format, keys: Keyring, *, wanted: Format | None = None) -> bytes:
    """What the encrypted `file` holds, in the format `wanted`, its own without one.

    Raises Undecryptable for what is wrong with the file, NoKey where no key opens it.
    """
    wanted = wanted or written
    with _told(file):
        _check_size(data)
        match written:
            case Format.JSON | Format.BINARY:
                return await _open_json(data, keys, wanted)
            case Format.YAML:
                return await _open_yaml(data, keys, wanted)
            case Format.DOTENV:
                return await _open_lines(linetext.parse_dotenv(data), linetext.write_dotenv, keys, written, wanted)
            case Format.INI:
                return await _open_lines(linetext.parse_ini(data), linetext.write_ini, keys, written, wanted)
    raise AssertionError("unreachable")


async def prove(data: bytes, file: str, written: Format, keys: Keyring) -> list[Proven]:
    """The encrypted documents of a file of manifests, once all of them are proven. Raises as `open_file`.

    Documents with one and the same MAC were encrypted together, and are proven together.
    """
    with _told(file):
        _check_size(data)
        if written is Format.JSON:
            tree = jsontext.parse(data)
            return [(await _opened(tree.pop(BLOCK, None), list(of_tree(tree)), keys))[0]]
        documents = yamltext.parse(_text(data))
        found: list[Proven] = []
        for together in _together(documents):
            leaves = [leaf for document in together for leaf in document.leaves]
            found.append((await _opened(together[0].block, leaves, keys))[0])
        return found


async def _opened(block: Any, leaves: Sequence[Leaf], keys: Keyring) -> tuple[Proven, list[Plain]]:
    if block is None:
        raise Damaged(_NO_BLOCK)
    metadata = Metadata.of(block)
    cipher = Cipher(await keys.data_key(metadata))
    return Proven(metadata.mac, metadata, cipher), opened(leaves, metadata, cipher)


async def _open_json(data: bytes, keys: Keyring, wanted: Format) -> bytes:
    tree = jsontext.parse(data)
    block = tree.pop(BLOCK, None)
    _, plains = await _opened(block, list(of_tree(tree)), keys)
    plain = into_tree(tree, iter(plains))
    if wanted is Format.BINARY:
        content = plain.get("data")
        if not isinstance(content, str):
            raise Damaged("it is not a binary file: name it for its format")
        return content.encode("utf-8", "surrogateescape")
    if wanted not in _TREES:
        raise _misnamed(Format.JSON, wanted)
    return jsontext.write(plain) if wanted is Format.JSON else _utf8(to_yaml(plain))


async def _open_yaml(data: bytes, keys: Keyring, wanted: Format) -> bytes:
    text = _text(data)
    documents = yamltext.parse(text)
    together = _together(documents)
    if not together:
        raise Damaged(_NO_BLOCK)
    if len(together) != 1 or len(together[0]) != len(documents):
        raise Damaged("its documents were not encrypted together: keep them in files of their own")
    leaves = [leaf for document in documents for leaf in document.leaves]
    proven, plains = await _opened(documents[0].block, leaves, keys)
    if wanted is Format.JSON and len(documents) == 1:
        return jsontext.write(into_tree(documents[0].tree, iter(plains)))
    if wanted is not Format.YAML:
        raise _misnamed(Format.YAML, wanted)
    return _utf8(yamltext.rewritten(text, documents, plains, proven.cipher))


async def _open_lines(lines: Lines, write: linetext.Write, keys: Keyring, written: Format, wanted: Format) -> bytes:
    if wanted is not written:
        raise _misnamed(written, wanted)
    proven, plains = await _opened(lines.block or None, lines.leaves, keys)
    comments = [_comment(leaf, proven.cipher) for leaf in lines.comments]
    return linetext.replaced(lines, [*plains, *comments], write).encode("utf-8", "surrogateescape")


def _comment(leaf: Leaf, cipher: Cipher) -> Plain:
    """A comment, opened if it is sealed; the MAC is not over comments, and old versions of sops left them plain."""
    if not isinstance(leaf.value, str) or not is_sealed(leaf.value):
        return leaf.value
    try:
        plain = cipher.open(leaf.value, leaf.place)
    except Damaged:
        return leaf.value
    return plain if isinstance(plain, Comment) and "\n" not in plain.text else leaf.value


def _together(documents: Sequence[yamltext.Document]) -> list[list[yamltext.Document]]:
    """The documents that have a sops block, those of one MAC in one group."""
    groups: dict[str, list[yamltext.Document]] = {}
    for document in documents:
        if document.block is not None:
            mac = document.block.get("mac") if isinstance(document.block, dict) else None
            groups.setdefault(str(mac), []).append(document)
    return list(groups.values())


@contextmanager
def _told(file: str) -> Iterator[None]:
    """What goes wrong inside becomes an error that names the file, and never a value."""
    try:
        yield
    except Damaged as failure:
        raise Undecryptable(f"{file} cannot be decrypted: {failure}") from None
    except Locked as failure:
        words = f"{file} cannot be decrypted: none of its keys could be used: {failure}"
        raise NoKey(words, hopeless=not failure.passing) from None


def _check_size(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise Damaged(f"it has {len(data)} bytes, and an encrypted file may have {MAX_BYTES}")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Damaged("it is not UTF-8") from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Damaged("a value in it is not UTF-8, which its format cannot carry") from None


def _carried(tree: Any) -> Any:
    """`tree`, once all its text can be sent to an API server. Raises Damaged."""
    for leaf in of_tree(tree):
        if isinstance(leaf.value, str):
            _utf8(leaf.value)
    return tree


def _misnamed(written: Format, wanted: Format) -> Damaged:
    return Damaged(f"it is {written.value}, and its name says {wanted.value}")
