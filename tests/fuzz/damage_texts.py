"""Damage to the structure of JSON and YAML: any value of another type, huge, nested, missing, doubled, a path."""

from __future__ import annotations

import json
import random
from typing import Any

import yaml

from ca_seg.bounded_files import parse_yaml
from tests.fuzz.damage_bytes import CANARY, OUTSIDE, Damage


# values that a text file may hold in place of any other; paths lead to a file that is there
def _value(rng: random.Random, near: Any) -> Any:
    plain = (
        None, True, False, 0, -1, 1, 2, 255, 256, 65536, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320,
        1e308, float("nan"), float("inf"), float("-inf"), "", " ", "\0", "\ud800", "a\nb", "\u202e", "1", "nan",
        "null", "true", "x" * 100_000, "%s%s%n", "{}", "{0.__class__}", "${HOME}", "~/x", "{" * 50, [], {}, [[]],
        {"": ""}, [None], {"a": None}, ["a", 1], [1.5, 2], list(range(5000)), f"../{OUTSIDE}/by_path.png",
        f"{OUTSIDE}/../../{OUTSIDE}/by_path.png", f"images/../../{OUTSIDE}/by_path.png", "/dev/zero", "/etc/passwd",
        "C:\\x.png", "..\\x.png", "file:///etc/passwd", "http://localhost:9/x", "-", ".", "..", "/", CANARY,
        f"{CANARY}.Canary", f"{CANARY}:run", "os.system", "subprocess.Popen", "builtins.eval", "__class__",
        "__proto__",
    )  # fmt: skip
    way = rng.random()
    if way < 0.6:
        return rng.choice(plain)
    if way < 0.7:
        return _nested(rng.choice((20, 200)), rng)
    if isinstance(near, bool) or near is None:
        return rng.choice(plain)
    if isinstance(near, int):
        return rng.choice((near + 1, near - 1, -near, near * 10**6, float(near), str(near), near + 0.5, [near]))
    if isinstance(near, float):
        return rng.choice((-near, near * 1e300, int(near), str(near), [near]))
    if isinstance(near, str):
        letter = rng.randrange(len(near) + 1)
        return rng.choice(
            (
                near[:letter],
                near.upper(),
                near + " ",
                near * 2,
                f" {near}",
                near + "\0",
                near[:letter] + "é漢" + near[letter:],
                [near],
                {near: near},
            )
        )
    if isinstance(near, list):
        return rng.choice((near * 2, near[::-1], near[:-1], [near], dict.fromkeys(map(str, near)), [*near, None]))
    return rng.choice(([near], list(near.values()), {**near, "extra": 1}, {k.upper(): v for k, v in near.items()}))


def _nested(depth: int, rng: random.Random) -> Any:
    value: Any = rng.choice((1, "a", None))
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _places(value: Any, above: tuple = ()) -> list[tuple]:
    """The path of every value, the whole first."""
    places = [above]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        places += _places(item, (*above, key))
    return places


def _structure(value: Any, rng: random.Random) -> tuple[Any, str]:
    """One value of a nested structure changed."""
    place = rng.choice(_places(value))
    if not place:
        return _value(rng, value), "the whole"
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    last, where = place[-1], "/".join(map(str, place))[:80]
    way = rng.random()
    if way < 0.12:
        del holder[last]
        return value, f"{where} left out"
    if way < 0.2:
        other = rng.choice(_places(value)[1:])
        source = value
        for key in other:
            source = source[key]
        holder[last] = json.loads(json.dumps(source))
        return value, f"{where} = {'/'.join(map(str, other))[:80]}"
    if way < 0.28 and isinstance(holder, dict):
        new = _value(rng, last)
        holder[new if isinstance(new, str) else str(new)[:50]] = holder.pop(last)
        return value, f"{where} renamed"
    holder[last] = _value(rng, holder[last])
    return value, f"{where} = {holder[last]!r:.60}"


def in_json(content: bytes, rng: random.Random) -> Damage:
    way = rng.random()
    if way < 0.85:
        value, what = _structure(json.loads(content), rng)
        return json.dumps(value, indent=rng.choice((None, 1))).encode("utf-8", "surrogatepass"), what
    text = content.decode()
    if way < 0.88:
        depth = rng.choice((900, 3000, 100_000))
        return (
            b"[" * depth + b"]" * depth
        ) if rng.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth, f"{depth} deep"
    if way < 0.92:
        return ("{" + text.strip()[1:-1].rstrip() + "," + text.strip()[1:-1] + "}").encode(), "every key twice"
    if way < 0.94:
        return text.replace(":", ":" + "9" * 5000 + ",", 1).encode(), "a number of 5000 digits"
    if way < 0.97:
        return text.replace("}", rng.choice((",}", "//x\n}", "NaN}", "-Infinity}", "1e999}")), 1).encode(), "no JSON"
    return rng.choice((b"[]", b"{}", b"null", b'""', b"0", b"NaN", b"[null]", b"[[[]]]")), "nearly nothing"


def in_jsonl(content: bytes, rng: random.Random) -> Damage:
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    way = rng.random()
    if way < 0.6:
        lines[place], what = in_json(lines[place], rng)
        lines[place] = lines[place].replace(b"\n", b" ") + b"\n"
        return b"".join(lines), f"line {place + 1}: {what}"
    if way < 0.7:
        return b"".join([*lines[:place], lines[place], *lines[place:]]), f"line {place + 1} twice"
    if way < 0.8:
        return b"".join([*lines[:place], *lines[place + 1 :]]), f"line {place + 1} left out"
    if way < 0.9:
        rng.shuffle(lines)
        return b"".join(lines), "lines in another order"
    return b"".join(
        [*lines[:place], rng.choice((b"\n", b"\xff\n", b"{}\n", b"[1]\n", b" \r\n")), *lines[place:]]
    ), "a line"


YAML_TRICKS = (
    "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{c}: &{c} [{', '.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    ),  # "billion laughs"
    "a: &a [*a]\n",
    "a: &a {b: *a}\n",
    "&a\n? *a\n: 1\n",
    "<<: {a: 1}\n",
    "<<: [1]\n",
    "<<: &a {<<: *a}\n",
    "a: !!python/object/apply:os.mkdir ['../outside/by_tag']\n",
    f"a: !!python/name:{CANARY}.Canary\n",
    "a: !!binary '!'\n",
    "a: !!timestamp 9999-99-99\n",
    "a: 2024-02-30\n",
    "a: 2024-01-01\n",
    "a: !!set {x, y}\n",
    "a: !!omap [x: 1]\n",
    "a: !!int x\n",
    "a: !!float _\n",
    "a: 190:20:30\n",
    "a: 0o17\n",
    "a: 0x_\n",
    "? [a, b]\n: 1\n",
    "? {a: b}\n: 1\n",
    "1: a\nnull: b\ntrue: c\n1.5: d\n",
    "a: 1\na: 2\n",
    "--- a\n--- b\n",
    "%YAML 9.9\n---\na: 1\n",
    "a: |\n x\n\ty\n",
    "\ta: 1\n",
    "a: [" + "[" * 3000,
    "a: " + "{x: " * 3000,
    "- " * 3000 + "a\n",
    "a: !x y\n",
    "a: *b\n",
    "a: 'b\n",
    'a: "\\x"\n',
    "a: .nan\nb: .inf\n",
    "[a]\n",
    "a\n",
    "~\n",
    "\ufeffa: 1\n",
    "a: \x07\n",
    "a: " + "9" * 5000 + "\n",
    "base: .\n",
    "base: ..\n",
    f"base: ../{OUTSIDE}/by_path.yaml\n",
    "base: 5\n",
    "base: [a]\n",
    "data: 7\n",
    "model:\n",
    "model: []\n",
)


def in_yaml(content: bytes, rng: random.Random) -> Damage:
    way = rng.random()
    if way < 0.65:
        value, what = _structure(parse_yaml(content.decode()), rng)  # no more values than a reader takes
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"), what
    trick = rng.choice(YAML_TRICKS)
    if way < 0.8:
        return trick.encode(), f"{trick!r:.40}"
    text = content.decode()
    return (trick + text if rng.random() < 0.5 else text + "\n" + trick).encode(), f"with {trick!r:.40}"
