"""Changes to YAML that people wrote: what is changed is changed, and every other byte stays.

ruamel.yaml says where values begin and end; the text between is put in their place. Its own writer
is not used, because it lays the whole document out anew. What comes out is read again, and is
refused unless exactly what was asked for is different.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from envsync.adapters.files.strict_yaml import parse_document
from envsync.errors import InvalidInput
from envsync.model.document import Faults
from envsync.model.document import Mapping as Parsed
from envsync.model.document import Node as ParsedNode
from envsync.model.document import Scalar as ParsedScalar
from envsync.model.edit import Edit
from envsync.model.yaml_text import Plain, Raw, render_yaml, scalar

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BOM = "\ufeff"
_HEAD = ("$schema", "name", "version", "description")
"""Keys that stand at the beginning of a spec."""
_AFTER_HEAD = ("description", "tags")
"""Keys that go after the last of those when they are new; others go to the end."""

_Value: TypeAlias = "str | bool | Mapping[str, _Value]"
_Plainly: TypeAlias = "str | list[_Plainly] | dict[str, _Plainly] | None"


def edit_document(data: bytes, path: str, edits: Sequence[Edit]) -> bytes:
    """Return a document with *edits* made; implements `envsync.ports.documents.EditDocument`."""
    before = data.decode("utf-8")
    text = before.removeprefix(_BOM)
    for edit in edits:
        text = _edited(text, path, edit)
    after = (_BOM if before.startswith(_BOM) else "") + text
    wanted = _plainly(_parsed(data, path))
    for edit in edits:
        wanted = _as_asked(wanted, edit)
    found = _plainly(_parsed(after.encode(), path))
    if found != wanted:
        raise _too_odd(path)
    return after.encode()


def _edited(text: str, path: str, edit: Edit) -> str:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise _too_odd(path) from error
    *parents, key = edit.path
    if root is None or (isinstance(root, ScalarNode) and root.value == ""):
        if edit.value is None:
            return text
        return _with_lines(text, len(text), _lines(edit.path, edit.value, text, len(text)), 0)
    node, above = root, []
    for depth, name in enumerate(parents):
        if not isinstance(node, MappingNode):
            raise _too_odd(path)
        entry = _entry(node, name)
        if entry is None or _is_null(entry[1]) or not entry[1].value:
            if edit.value is None:
                return text
            nested: _Value = _nested(edit.path[depth + 1 :], edit.value)
            return _set(text, path, node, name, nested, head=depth == 0)
        above.append((node, name))
        node = entry[1]
    if not isinstance(node, MappingNode):
        raise _too_odd(path)
    if edit.value is not None:
        return _set(text, path, node, key, edit.value, head=not parents)
    if _entry(node, key) is None:
        return text
    while above and len(node.value) == 1:
        node, key = above.pop()
    return _remove(text, path, node, key)


def _set(text: str, path: str, mapping: MappingNode, key: str, value: _Value, *, head: bool) -> str:
    entry = _entry(mapping, key)
    if entry is None or (isinstance(value, Mapping) and value and not mapping.flow_style):
        if entry is None:
            return _insert(text, mapping, key, value, head=head)
        # A map takes the place of nothing, or of an empty one: after the line it stands in.
        return _open(text, path, mapping, entry, value)
    name, old = entry
    start = old.start_mark.index
    if _is_null(old) and not text[start : old.end_mark.index]:
        start = text.index(":", name.end_mark.index) + 1
        return f"{text[:start]} {_inline(value, '')}{text[start:]}"
    end = _end(text, name, old)
    # A comment after the value would become a part of a text of several lines.
    alone = not text[end : _line_end(text, end)].strip()
    if isinstance(value, str) and "\n" in value and not mapping.flow_style and alone:
        first, *rest = _lines(("key",), value, text, end)
        column = " " * name.start_mark.column
        new = _newline(text).join(
            [first.removeprefix("key: "), *(_indented(column, r) for r in rest)]
        )
        new += "" if text[end:] else _newline(text)
    else:
        style = old.style if isinstance(old, ScalarNode) else ""
        new = _inline(value, style or ("flow" if mapping.flow_style else ""))
    return text[:start] + new + text[end:]


def _open(
    text: str, path: str, mapping: MappingNode, entry: tuple[Node, Node], value: _Value
) -> str:
    name, old = entry
    if old.value:
        raise _too_odd(path)
    colon = text.index(":", name.end_mark.index) + 1
    start, end = old.start_mark.index, old.end_mark.index
    if end > start:
        text = text[:colon] + text[end:]
    at = _line_end(text, colon)
    _, *lines = _lines((name.value,), value, text, at)
    return _with_lines(text, at, lines, mapping.start_mark.column)


def _insert(text: str, mapping: MappingNode, key: str, value: _Value, *, head: bool) -> str:
    if mapping.flow_style:
        # A document in JSON stays one.
        quote = '"' if mapping.value and mapping.value[0][0].style == '"' else "flow"
        new = f"{_inline(key, quote)}: {_inline(value, quote)}"
        if not mapping.value:
            at = mapping.start_mark.index + 1
            return text[:at] + new + text[at:]
        at = _end(text, *mapping.value[-1])
        return f"{text[:at]}, {new}{text[at:]}"
    column = mapping.value[0][0].start_mark.column
    known = mapping.value
    if head and key in _AFTER_HEAD:
        known = [entry for entry in mapping.value if entry[0].value in _HEAD]
    if not known:
        at = text.rfind("\n", 0, mapping.value[0][0].start_mark.index) + 1
    else:
        at = _line_end(text, _end(text, *known[-1]))
    return _with_lines(text, at, _lines((key,), value, text, at), column)


def _remove(text: str, path: str, mapping: MappingNode, key: str) -> str:
    at = next(i for i, (name, _) in enumerate(mapping.value) if name.value == key)
    name, value = mapping.value[at]
    start, end = name.start_mark.index, _end(text, name, value)
    if mapping.flow_style:
        if at + 1 < len(mapping.value):
            end = mapping.value[at + 1][0].start_mark.index
        elif at:
            start = _end(text, *mapping.value[at - 1])
        return text[:start] + text[end:]
    line = text.rfind("\n", 0, start) + 1
    if text[line:start].strip(" "):
        raise _too_odd(path)
    return text[:line] + text[_line_end(text, end) :]


def _entry(mapping: MappingNode, key: str) -> tuple[Node, Node] | None:
    return next(((name, value) for name, value in mapping.value if name.value == key), None)


def _is_null(node: Node) -> bool:
    plain = isinstance(node, ScalarNode) and node.style is None
    return plain and node.value in {"", "~", "null", "Null", "NULL"}


def _end(text: str, name: Node, value: Node) -> int:
    """Return where a value ends, without the blank lines and comments after it."""
    if isinstance(value, ScalarNode):
        if value.style in {"|", ">"}:
            start, end = value.start_mark.index, value.end_mark.index
            return int(start + len(text[start:end].rstrip()))
        end = value.end_mark.index
        return int(
            end if end > value.start_mark.index else text.index(":", name.end_mark.index) + 1
        )
    if not isinstance(value, CollectionNode) or value.flow_style or not value.value:
        return int(value.end_mark.index)
    last = value.value[-1]
    return _end(text, *last) if isinstance(value, MappingNode) else _end(text, last, last)


def _line_end(text: str, at: int) -> int:
    """Return where the line after the one of *at* begins."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _with_lines(text: str, at: int, lines: Sequence[str], column: int) -> str:
    newline = _newline(text)
    new = "".join(f"{_indented(' ' * column, line)}{newline}" for line in lines)
    if at and not text[:at].endswith("\n"):
        new = newline + new
    return text[:at] + new + text[at:]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indented(indent: str, line: str) -> str:
    return indent + line if line else line


def _nested(path: Sequence[str], value: _Value) -> _Value:
    for key in reversed(path):
        value = {key: value}
    return value


def _lines(path: Sequence[str], value: _Value, text: str, at: int) -> list[str]:
    """Return the lines of a value that is to stand at *at*.

    An indented comment after a text of several lines would become a part of it.
    """
    block = not text[at:].lstrip("\r\n").startswith((" ", "\t"))
    return render_yaml({path[0]: _plain(_nested(path[1:], value), block)}).splitlines()


def _plain(value: _Value, block: bool) -> Plain:
    if isinstance(value, Mapping):
        return {key: _plain(item, block) for key, item in value.items()}
    if isinstance(value, str):
        return value if block else Raw(text=scalar(value))
    return Raw(text=str(value).lower())


def _inline(value: _Value, style: str) -> str:
    """Return a value in one line, quoted as the one before it was (*style*) if it can be."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        style = style if style == '"' else "flow"
        inner = (f"{_inline(key, style)}: {_inline(item, style)}" for key, item in value.items())
        return "{" + ", ".join(inner) + "}"
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    text = scalar(value)
    bare = style not in {'"', "flow"} or (style == "flow" and _BARE.fullmatch(value))
    return text if text.startswith('"') or bare else f'"{text}"'


def _parsed(data: bytes, path: str) -> ParsedNode | None:
    faults = Faults()
    root = parse_document(data, path, faults)
    faults.check(f"{path} cannot be edited")
    return root


def _plainly(node: ParsedNode | None) -> _Plainly:
    """Return a document as what it says: keys with their values in order, texts, None."""
    if node is None or isinstance(node, ParsedScalar):
        return None if node is None or node.is_null else node.text
    if isinstance(node, Parsed):
        return {key.text: _plainly(value) for key, value in node.entries}
    return [_plainly(item) for item in node.items]


def _as_asked(document: _Plainly, edit: Edit) -> _Plainly:
    """Return what a document has to say after *edit*."""
    here = dict(document) if isinstance(document, dict) else {}
    key, *rest = edit.path
    if rest:
        inner = _as_asked(here.get(key), Edit(path=tuple(rest), value=edit.value))
        if edit.value is not None or key in here:
            here[key] = inner
        if edit.value is None and inner is None:
            here.pop(key, None)
    elif edit.value is None:
        here.pop(key, None)
    else:
        here[key] = _said(edit.value)
    return here or (None if edit.value is None else here)


def _said(value: _Value) -> _Plainly:
    if isinstance(value, Mapping):
        return {key: _said(item) for key, item in value.items()}
    return value if isinstance(value, str) else str(value).lower()


def _too_odd(path: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is written in a way that cannot be edited here",
        detail="Nothing was changed.",
        hint="Change it by hand.",
    )
