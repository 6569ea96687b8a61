"""What an agent's reply says that it does, and what a judge's says, however they are dressed.

Models write `**Action:** go hall`, `Action 2: "go hall".` or a block of code behind `action:`; all
of that is `go hall`.  Inside an action nothing is changed but blanks.
"""

from __future__ import annotations

import functools
import re

# --- actions

# `Action:`, `action 2:`, `**Action:**`; not `reaction:` and not `Available actions:`.
LABEL = re.compile(r"(?<![a-z])action[ \t*_`#.()\d]*[:\uff1a](?:[*_`\"']+(?!\S))?", re.IGNORECASE)
# The same where a line begins, behind a mark of a list, a heading or a quotation at the most.
FIRST = re.compile(r"^[ \t>*_`\"'#().\d\u2022-]*" + LABEL.pattern, re.IGNORECASE | re.MULTILINE)
FENCE = re.compile(r"\s*(```|~~~)\w*\s*")  # a line that opens a block of code, or closes it
# Marks, and quotes that open and close.
DRESS = ("*", "`", "_", '"', "'", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb")


@functools.lru_cache(4096)  # agents of a small world say the same again and again
def parse_action(reply: str) -> str:
    """Return the action of a reply; empty if it has none, or several."""
    actions = actions_of(reply)
    return actions[0] if len(actions) == 1 else ""


def actions_of(reply: str) -> list[str]:
    """Return what stands behind each label of a reply, up to the end of its line.

    Where a line begins with a label, those before it do not count: they are part of a thought.
    """
    first = FIRST.search(reply)
    spoken = reply[first.start() :] if first else reply
    _, *parts = LABEL.split(spoken)
    return [undressed(part) for part in parts]


def undressed(text: str) -> str:
    """Return the first line of a text that says something, without its dress."""
    for line in text.split("\n"):
        action = "" if FENCE.fullmatch(line) else bare(line)
        if action:
            return action
    return ""


def bare(line: str) -> str:
    """Return a line without the dress and the final dots around it, and with single blanks.

    What stands around a part of the line only, as in `say "go" and "stop"`, stays.
    """
    text = " ".join(line.split())
    while True:
        shorter = text.rstrip(". ")
        for signs in DRESS:
            inside = shorter.strip(signs)
            if not set(signs) & set(inside):
                shorter = inside.strip()
        if shorter == text:
            return text
        text = shorter


# --- verdicts

# `Judgment: Bad`, `**Judgement:** bad.`, `Therefore, Judgment = [Bad]`, or Bad below a heading; not
# `Judgment: not bad`, and not the question itself, `Judgment: Good, Bad or Uncertain`; but
# `Judgment: Bad, good try`.
WORD = r"(?:good|bad|uncertain)(?![a-z])"
# The dress of a word.  No sign of it can be read in two ways, else looking would take for ever.
AROUND = r"(?:[\s*_`\"'#()\[\]{}<>\u201c\u201d\u2018\u2019]|</?[a-z\d]+>)*"
LABEL_OF_WORD = (
    rf"(?<![a-z])judge?ments?(?![a-z]){AROUND}(?:is\b|[:\uff1a=\u2013\u2014\u2192-]>?|\n)"
)
# Another word of a list, which goes on or ends behind it.
LISTED = rf"{AROUND}(?:,|/|\||or\b){AROUND}(?:or\s+)?{WORD}"
LISTED += r"(?:\s*[,/|.?)\]>}*_`\"']|\s*or\b|[ \t]*(?:\n|$))"
VERDICT = re.compile(rf"{LABEL_OF_WORD}{AROUND}({WORD})(?!{LISTED})", re.IGNORECASE)


def parse_verdict(reply: str) -> str:
    """Return `Good`, `Bad` or `Uncertain`, the last judgement of a reply, however it is dressed.

    `VERDICT` finds them.  A reply without a judgement is `Uncertain`.  (The released code searches
    the whole answer where the label is missing, so that "not good" counts as good there.)
    """
    verdicts = VERDICT.findall(reply)
    return verdicts[-1].capitalize() if verdicts else "Uncertain"
