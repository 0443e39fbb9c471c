#!/usr/bin/env python3
"""Writes src/xmpp/nodeprep-tables.ts, and is the referee of test/xmpp.test.ts.

    python3 test/support/nodeprep-tables.py > src/xmpp/nodeprep-tables.ts
    python3 test/support/nodeprep-tables.py --digest

Everything comes from Python's own `stringprep` (RFC 3454) and `unicodedata.ucd_3_2_0` (Unicode 3.2), so that the
output is the same on every Python 3. `--digest` prints what the test expects: SHA-256 over Nodeprep of every code
point and of pseudo-random strings, computed here without the tables above.
"""

import hashlib
import stringprep
import sys
import unicodedata

UNICODE_3_2 = unicodedata.ucd_3_2_0
CODE_POINTS = range(0x110000)
LONGEST = 1023  # bytes of UTF-8, RFC 6122 section 2.3


def unassigned(char):
    return stringprep.in_table_a1(char)


def fold(char):
    """Table B.2. Python asks its newest Unicode for the lower case and so finds letters that Unicode 3.2 has not
    (U+10A0 to U+2D00, for one); RFC 3454 leaves those capitals alone."""
    folded = stringprep.map_table_b2(char)
    return char if any(map(unassigned, folded)) else folded


def prohibited(char):
    return char in "\"&'/:<>@" or any(
        in_table(char)
        for in_table in (
            stringprep.in_table_c11_c12,
            stringprep.in_table_c21_c22,
            stringprep.in_table_c3,
            stringprep.in_table_c4,
            stringprep.in_table_c5,
            stringprep.in_table_c6,
            stringprep.in_table_c7,
            stringprep.in_table_c8,
            stringprep.in_table_c9,
        )
    )


# ---- the referee


def nodeprep(name):
    if not name or len(name.encode("utf-8", "surrogatepass")) > LONGEST or any(map(unassigned, name)):
        return None
    mapped = "".join(fold(char) for char in name if not stringprep.in_table_b1(char))
    prepared = UNICODE_3_2.normalize("NFKC", mapped)
    if not prepared or any(map(prohibited, prepared)) or len(prepared.encode()) > LONGEST:
        return None
    if any(map(stringprep.in_table_d1, prepared)):
        if any(map(stringprep.in_table_d2, prepared)):
            return None
        if not stringprep.in_table_d1(prepared[0]) or not stringprep.in_table_d1(prepared[-1]):
            return None
    return prepared


BLOCKS = [
    (0x21, 0x7E), (0x41, 0x5A), (0xA0, 0x17F), (0x180, 0x24F), (0x300, 0x34F), (0x370, 0x3FF), (0x400, 0x50F),
    (0x591, 0x5F4), (0x60C, 0x6FE), (0x901, 0x94D), (0x981, 0x9D7), (0xB3E, 0xB57), (0xBBE, 0xBD7), (0xC41, 0xC56),
    (0xCBF, 0xCD6), (0xD3E, 0xD57), (0xDCA, 0xDDF), (0xE31, 0xE4E), (0xF71, 0xF84), (0x1025, 0x1039), (0x10A0, 0x10FF),
    (0x1100, 0x1175), (0x11A8, 0x11F9), (0x13A0, 0x13F4), (0x1E00, 0x1E9B), (0x1F00, 0x1FFE), (0x2000, 0x2063),
    (0x2070, 0x218F), (0x2460, 0x24EA), (0x3041, 0x30FF), (0x3131, 0x33FF), (0xAC00, 0xD7A3), (0xF900, 0xFA6A),
    (0xFB00, 0xFB4F), (0xFB50, 0xFDFC), (0xFE00, 0xFEFC), (0xFF01, 0xFFEE), (0x10400, 0x1044D), (0x1D15E, 0x1D1DD),
    (0x1D400, 0x1D7FF), (0x2F800, 0x2FA1D),
]  # fmt: skip
STRINGS = 20_000


def random_strings():
    state = 1

    def below(limit):
        nonlocal state
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (state >> 8) % limit

    for _ in range(STRINGS):
        blocks = [BLOCKS[below(len(BLOCKS))], BLOCKS[below(len(BLOCKS))]]
        name = ""
        for _ in range(1 + below(5)):
            first, last = blocks[below(2)]
            name += chr(first + below(last - first + 1))
        yield name


def digest(names):
    """A refusal is written as a quotation mark, which no prepared name can hold, and a line feed ends each result."""
    total = hashlib.sha256()
    accepted = 0
    for name in names:
        prepared = nodeprep(name)
        accepted += prepared is not None
        total.update(('"' if prepared is None else prepared).encode() + b"\n")
    return f"{total.hexdigest()} ({accepted} accepted)"


# ---- the tables


def base36(number):
    if number < 0:
        return "-" + base36(-number)
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if number == 0:
            return digits


def join(numbers):
    return " ".join(map(base36, numbers))


def boundaries(contains):
    """The code points at which membership changes, each as the distance from the one before."""
    numbers, last, inside = [], 0, False
    for code in CODE_POINTS:
        if contains(chr(code)) != inside:
            inside = not inside
            numbers.append(code - last)
            last = code
    return join(numbers)


def foldings():
    """B.2 as runs to one letter (distance from the last run's start, count, step, shift) and as letters that become
    several."""
    single, several = {}, []
    for code in CODE_POINTS:
        char = chr(code)
        if 0xD800 <= code <= 0xDFFF or unassigned(char) or stringprep.in_table_b1(char):
            continue
        folded = fold(char)
        if len(folded) > 1:
            several.append(".".join(map(base36, [code, *map(ord, folded)])))
        elif folded != char:
            single[code] = ord(folded) - code
    numbers, last = [], 0
    while single:
        first = min(single)
        shift = single[first]

        def length(step):
            count = 1
            while single.get(first + count * step) == shift:
                count += 1
            return count

        step = 1 if length(1) > 1 else 2
        count = length(step)
        numbers += [first - last, count, step, shift]
        last = first
        for index in range(count):
            del single[first + index * step]
    return join(numbers), " ".join(several)


def normalized_otherwise():
    """Code points of Unicode 3.2 whose decomposition was corrected later (Corrigendum 4)."""
    return " ".join(
        ".".join(map(base36, [code, *map(ord, old)]))
        for code in CODE_POINTS
        if not 0xD800 <= code <= 0xDFFF
        and not unassigned(chr(code))
        and (old := UNICODE_3_2.normalize("NFKC", chr(code))) != unicodedata.normalize("NFKC", chr(code))
    )


def declaration(comment, name, text):
    lines, line = [], ""
    for word in text.split(" "):
        if len(line) + len(word) > 100:
            lines.append(line)
            line = ""
        line += word + " "
    lines.append(line.rstrip())
    if len(lines) == 1:
        return f"/** {comment} */\nexport const {name} = '{lines[0]}';\n"
    body = " +\n".join(f"  '{line}'" for line in lines)
    return f"/** {comment} */\nexport const {name} =\n{body};\n"


def tables():
    single, several = foldings()
    return "\n".join(
        [
            "// The tables of Nodeprep (RFC 6122 appendix A) over Unicode 3.2. Generated, not written:\n"
            "//   python3 test/support/nodeprep-tables.py > src/xmpp/nodeprep-tables.ts\n"
            "// All numbers are in base 36. A set of code points is the list of the places where membership changes, each as\n"
            "// the distance from the one before. test/xmpp.test.ts compares the outcome for every code point.\n",
            declaration("RFC 3454 A.1: not assigned in Unicode 3.2.", "unassigned", boundaries(unassigned)),
            declaration("RFC 3454 B.1: mapped to nothing.", "ignored", boundaries(stringprep.in_table_b1)),
            declaration(
                "RFC 3454 C.1.1 to C.9 and the eight of Nodeprep: allowed nowhere.", "prohibited", boundaries(prohibited)
            ),
            declaration("RFC 3454 D.1: written from right to left.", "rightToLeft", boundaries(stringprep.in_table_d1)),
            declaration("RFC 3454 D.2: written from left to right.", "leftToRight", boundaries(stringprep.in_table_d2)),
            declaration(
                "RFC 3454 B.2, one to one: runs of distance from the last run's start, count, step, shift.",
                "folded",
                single,
            ),
            declaration("RFC 3454 B.2, one to several: the letter and what it becomes.", "foldedToSeveral", several),
            declaration(
                "What NFKC made of them before Corrigendum 4 (after Unicode 3.2).", "correctedLater", normalized_otherwise()
            ),
        ]
    )


if sys.argv[1:] == ["--digest"]:
    print("every code point:", digest(map(chr, CODE_POINTS)))
    print("random strings:  ", digest(random_strings()))
else:
    sys.stdout.write(tables())
