"""Encrypted files opened as a whole: as bytes for who reads them as files, or proven for what was built of them.

All or nothing: every value has to open and the MAC over all of them to fit, else nothing of the file is used.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

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

IN_LOOP_BYTES: Final = 64 << 10
"""More than this is read and opened in a thread."""

T = TypeVar("T")


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
        parsed = await _apart(len(data), _parsed, data, written)
        metadata = Metadata.of(parsed.block)
        key = await keys.data_key(metadata)
        return await _apart(len(data), _written, parsed, metadata, Cipher(key), wanted)


async def prove(data: bytes, file: str, written: Format, keys: Keyring) -> list[Proven]:
    """The encrypted documents of a file of manifests, once all of them are proven. Raises as `open_file`.

    Documents with one and the same MAC were encrypted together, and are proven together.
    """
    found: list[Proven] = []
    with _told(file):
        _check_size(data)
        for block, leaves in await _apart(len(data), _manifests, data, written):
            metadata = Metadata.of(block)
            cipher = Cipher(await keys.data_key(metadata))
            await _apart(len(data), opened, leaves, metadata, cipher)
            found.append(Proven(metadata.mac, metadata, cipher))
    return found


def _manifests(data: bytes, written: Format) -> list[tuple[Any, list[Leaf]]]:
    """What belongs together in a file of manifests, by its sops block."""
    if written is Format.JSON:
        tree = jsontext.parse(data)
        block = tree.pop(BLOCK, None)
        return [(block, list(of_tree(tree)))]
    together = _together(yamltext.parse(_text(data)))
    return [(part[0].block, [leaf for document in part for leaf in document.leaves]) for part in together]


class _Parsed(NamedTuple):
    """An encrypted file that was read, by its format: a tree, documents with their text, or lines."""

    written: Format
    block: Any
    leaves: list[Leaf]
    tree: Any = None
    text: str = ""
    documents: Sequence[yamltext.Document] = ()
    lines: Lines | None = None


def _parsed(data: bytes, written: Format) -> _Parsed:
    match written:
        case Format.JSON | Format.BINARY:
            tree = jsontext.parse(data)
            return _with_block(_Parsed(written, tree.pop(BLOCK, None), list(of_tree(tree)), tree))
        case Format.YAML:
            text = _text(data)
            documents = yamltext.parse(text)
            together = _together(documents)
            if together and (len(together) != 1 or len(together[0]) != len(documents)):
                raise Damaged("its documents were not encrypted together: keep them in files of their own")
            leaves = [leaf for document in documents for leaf in document.leaves]
            block = documents[0].block if together else None
            return _with_block(_Parsed(written, block, leaves, text=text, documents=documents))
    lines = linetext.parse_dotenv(data) if written is Format.DOTENV else linetext.parse_ini(data)
    return _with_block(_Parsed(written, lines.block or None, lines.leaves, lines=lines))


def _with_block(parsed: _Parsed) -> _Parsed:
    if parsed.block is None:
        raise Damaged("it has no sops block")
    return parsed


def _written(parsed: _Parsed, metadata: Metadata, cipher: Cipher, wanted: Format) -> bytes:
    """What `parsed` holds, once it is proven."""
    plains = opened(parsed.leaves, metadata, cipher)
    if parsed.lines is not None:
        if wanted is not parsed.written:
            raise _misnamed(parsed.written, wanted)
        comments = [_comment(leaf, cipher, wanted) for leaf in parsed.lines.comments]
        write = linetext.write_dotenv if wanted is Format.DOTENV else linetext.write_ini
        return linetext.replaced(parsed.lines, [*plains, *comments], write).encode("utf-8", "surrogateescape")
    if parsed.written is Format.YAML and wanted is Format.YAML:
        return _utf8(yamltext.rewritten(parsed.text, parsed.documents, plains, cipher))
    if parsed.written is Format.YAML and (wanted is not Format.JSON or len(parsed.documents) != 1):
        raise _misnamed(parsed.written, wanted)
    tree = parsed.documents[0].tree if parsed.written is Format.YAML else parsed.tree
    return _tree_as(into_tree(tree, iter(plains)), wanted)


def _tree_as(tree: Any, wanted: Format) -> bytes:
    match wanted:
        case Format.JSON:
            return jsontext.write(tree)
        case Format.YAML:
            return _utf8(to_yaml(tree))
        case Format.BINARY if isinstance(content := tree.get("data"), str):
            return content.encode("utf-8", "surrogateescape")
    raise _misnamed(Format.JSON, wanted)


async def _apart(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """The result of `work`; in a thread if there is much of it, so that the event loop goes on."""
    if size > IN_LOOP_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


def _comment(leaf: Leaf, cipher: Cipher, written: Format) -> Plain:
    """A comment, opened if it is sealed; the MAC is not over comments, and old versions of sops left them plain."""
    if not isinstance(leaf.value, str) or not is_sealed(leaf.value):
        return leaf.value
    try:
        plain = cipher.open(leaf.value, leaf.place)
    except Damaged:
        return leaf.value
    fits = isinstance(plain, Comment) and (written is Format.INI or "\n" not in plain.text)
    return plain if fits else leaf.value


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
