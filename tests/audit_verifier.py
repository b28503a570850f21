#!/usr/bin/env python3
"""Checks files that `holdpoint audit export` wrote, without Holdpoint and without any library.

Written from the format's description (host/store/src/audit.rs), not from its code, so that the two can be held against each other.

    python3 audit_verifier.py [--thread] [--head DIGEST] FILE...

Prints one line for each file:

    FILE ok RECORDS DIGEST      everything is as it was written; DIGEST is the last record's
    FILE malformed LINE         a line is no record
    FILE changed SEQUENCE       a record's digest does not fit its content
    FILE broken SEQUENCE        a record does not follow on the one before it
    FILE thread-broken SEQUENCE a record does not follow on the one before it of its thread
    FILE cut DIGEST             the last record is not the one expected

and ends with status 1 unless all are ok. `--thread`: the files hold the records of one thread, so that the whole trail's chain has gaps.
"""

import hashlib
import json
import re
import sys

NOTHING = "0" * 64
MEMBERS = {
    "sequence", "previous", "thread", "thread_sequence", "thread_previous",
    "tenant", "at_ms", "actor", "kind", "body", "digest",
}
BASES = {"api-key", "token", "link", "asserted", "host"}
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
DEPTH_MAX = 127


class Malformed(Exception):
    """A line that is no record."""


class Number(str):
    """A number as it was written: its form says what it is."""


# Canonical JSON (RFC 8785). One deliberate difference: whole numbers beyond 2^53 that fit into 64 bits keep all their digits.

SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def canonical_string(text):
    parts = []
    for character in text:
        if character in SHORT:
            parts.append(SHORT[character])
        elif character < " ":
            parts.append("\\u%04x" % ord(character))
        elif "\ud800" <= character <= "\udfff":
            raise Malformed("half a character")
        else:
            parts.append(character)
    return '"' + "".join(parts) + '"'


def canonical_number(text):
    whole = not any(mark in text for mark in ".eE")
    if whole and text != "-0" and -(2**63) <= int(text) < 2**64:
        return str(int(text))
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Malformed("a number that is too large")
    return ecmascript(value)


def ecmascript(value):
    """ECMA-262, Number::toString: the shortest digits that read back as the number, and its rules for the exponent."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = ("%r" % abs(value)).partition("e")
    before, _, after = mantissa.partition(".")
    digits = (before + after).lstrip("0")
    leading = len(before + after) - len(digits)
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(before) - leading + int(exponent or 0)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        text = digits + "0" * (point - count)
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        power = point - 1
        rest = "." + digits[1:] if count > 1 else ""
        text = digits[0] + rest + "e" + ("+" if power > 0 else "-") + str(abs(power))
    return sign + text


def canonical(value):
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, Number):
        return canonical_number(value)
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    # Members stand in the order of their names' UTF-16 code units.
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(canonical_string(name) + ":" + canonical(value[name]) for name in names) + "}"


def parse(line):
    def no_such_number(text):
        raise Malformed("not a JSON number: " + text)

    try:
        text = line.decode("utf-8")
        value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=no_such_number)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if depth(value) > DEPTH_MAX:
        raise Malformed("too deep")
    return value


def depth(value):
    deepest, level = 0, [value]
    while level:
        below = []
        for item in level:
            if isinstance(item, list):
                below.extend(item)
            elif isinstance(item, dict):
                below.extend(item.values())
        deepest += 1
        level = below
    return deepest


# One record.

def whole(value):
    if not isinstance(value, Number) or not value.isascii() or not value.isdigit() or int(value) >= 2**64:
        raise Malformed("not a whole number")
    return int(value)


def text(value):
    if not isinstance(value, str) or isinstance(value, Number):
        raise Malformed("not a text")
    return value


def digest(value):
    if not DIGEST.match(text(value)):
        raise Malformed("not a digest")
    return value


def check_form(record):
    if not isinstance(record, dict) or set(record) != MEMBERS:
        raise Malformed("other members than a record's")
    for name in ("sequence", "at_ms"):
        whole(record[name])
    for name in ("tenant", "kind"):
        text(record[name])
    for name in ("previous", "digest"):
        digest(record[name])
    if record["thread"] is None:
        if record["thread_sequence"] is not None or record["thread_previous"] is not None:
            raise Malformed("a place in no thread")
    else:
        text(record["thread"])
        whole(record["thread_sequence"])
        digest(record["thread_previous"])
    actor = record["actor"]
    if not isinstance(actor, dict) or set(actor) != {"id", "basis"} or text(actor["basis"]) not in BASES:
        raise Malformed("not an actor")
    text(actor["id"])
    if not isinstance(record["body"], dict):
        raise Malformed("not a body")


def computed_digest(record):
    rest = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(canonical(rest).encode("utf-8")).hexdigest()


# A file of them.

def verify(lines, one_thread, head):
    last, threads, count = (0, NOTHING), {}, 0
    for number, line in enumerate(lines, 1):
        try:
            record = parse(line)
            check_form(record)
            computed = computed_digest(record)
        except Malformed:
            return "malformed %d" % number
        sequence = whole(record["sequence"])
        if computed != record["digest"]:
            return "changed %d" % sequence
        if one_thread:
            follows = sequence > last[0]
        else:
            follows = sequence == last[0] + 1 and record["previous"] == last[1]
        if not follows:
            return "broken %d" % sequence
        thread = record["thread"]
        if thread is not None:
            place, before = threads.get(thread, (0, NOTHING))
            if whole(record["thread_sequence"]) != place + 1 or record["thread_previous"] != before:
                return "thread-broken %d" % sequence
            threads[thread] = (place + 1, computed)
        last, count = (sequence, computed), count + 1
    found = last[1] if count else "nothing"
    if head is not None and head != found:
        return "cut %s" % found
    return "ok %d %s" % (count, found)


def main(arguments):
    one_thread, head, files = False, None, []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--thread":
            one_thread = True
        elif argument == "--head":
            head = next(rest, None)
        else:
            files.append(argument)
    if not files:
        print(__doc__)
        return 2
    failed = False
    for name in files:
        with open(name, "rb") as file:
            lines = file.read().split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        verdict = verify(lines, one_thread, head)
        failed = failed or not verdict.startswith("ok")
        print(name, verdict)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
