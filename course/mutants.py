"""Mutants of the exercises' solutions: small changes, all of which an exercise's tests must see.

`python -m course.mutants` makes every mutant of every solution, runs the exercise's tests on each
and prints those that survive, but for the ones that are known to be equal to the original.
`python -m course.mutants 3 7` does so for some exercises.
"""

from __future__ import annotations

import ast
import copy
import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from course.classroom import PYTEST, Recorder, apart, place, solution
from course.exercises import EXERCISES, ROOT, Exercise, body_of, file_of_tests, read
from engine import UserError, command_line

# Survivors that do what the original does, by exercise: what the changed line is, and why.
WORDING = "the words of a refusal are nobody's business"
EQUAL: dict[int, dict[str, str]] = {
    2: {"pass": "that a child is left is sure, so `best` is always set anew"},
    4: {
        "for one, other in zip(bad.path(), good.path()):": "`strict` is False anyway",
        "continue": "behind the fork no two nodes are the same, so nothing more is counted",
    },
    7: {
        "last = len(bad.steps) + 1": WORDING,
        "last = len(bad.steps) - 2": WORDING,
        "last = len(bad.steps) - 0": WORDING,
    },
    8: {"problem = 'user and assistant must alternate?'": WORDING},
    9: {
        "return torch.nn.functional.cross_entropy(predictions.float(), targets,"
        " reduction='sum')": "`ignore_index` is -100 anyway"
    },
    16: {
        "for step in self.steps[:]:": "what stands behind action t is made and not shown",
        "for step in self.steps[:t + 2]:": "what stands behind action t is made and not shown",
    },
    18: {"continue": "once the length is too much it stays so"},
    12: {"previous = '?'": "only whether it is `revise` is asked"},
}

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}


def mutants_of(body: str) -> Iterator[tuple[str, str]]:
    """Yield bodies with one change each, with the statement that is changed as it becomes."""
    original = ast.parse(body)
    wrap = ast.unparse(original)
    seen = {wrap}
    for place_of_node, node in enumerate(ast.walk(original)):
        for change in range(len(changes(node))):
            tree = copy.deepcopy(original)
            twin = list(ast.walk(tree))[place_of_node]
            new = changes(twin)[change]
            tree = Replacement(twin, new).visit(tree)
            text = ast.unparse(ast.fix_missing_locations(tree))
            if text not in seen:
                seen.add(text)
                yield difference(wrap, text), text


def difference(before: str, after: str) -> str:
    """Return the first line of `after` that differs from `before`."""
    old = before.splitlines()
    new = after.splitlines()
    for place_of_line, line in enumerate(new):
        if place_of_line >= len(old) or old[place_of_line] != line:
            return line.strip()
    return "(the end is gone)"


class Replacement(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old = old
        self.new = new

    def visit(self, node: ast.AST) -> Any:
        """Return the new node for the old one, and any other as it is."""
        return self.new if node is self.old else self.generic_visit(node)


def changes(node: ast.AST) -> list[ast.AST]:
    """Return what may stand in the place of a node by one small mistake."""
    made: list[ast.AST] = []
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        ops = [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
        made.append(ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        made.append(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        made.append(ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value))
        made.append(ast.Assign([node.target], node.value))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        made.append(ast.BoolOp(other, node.values))
        made += [node.values[0], node.values[-1]]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        made.append(node.operand)
    elif isinstance(node, ast.Constant):
        made += other_constants(node.value)
    elif isinstance(node, ast.IfExp):
        made += [node.body, node.orelse]
    elif isinstance(node, ast.If | ast.While):
        made.append(with_test(node, ast.UnaryOp(ast.Not(), node.test)))
        made.append(with_test(node, ast.Constant(False)))
        if isinstance(node, ast.If):
            made.append(with_test(node, ast.Constant(True)))
    elif isinstance(node, ast.Return) and node.value is not None:
        made.append(ast.Return(ast.Constant(None)))
    elif isinstance(node, ast.Continue):
        made.append(ast.Break())
    elif isinstance(node, ast.Break):
        made.append(ast.Continue())
    elif isinstance(node, ast.Slice):
        made += [ast.Slice(None, node.upper), ast.Slice(node.lower, None)]
    elif isinstance(node, ast.Call):
        for index in range(len(node.keywords)):
            rest = node.keywords[:index] + node.keywords[index + 1 :]
            made.append(ast.Call(node.func, node.args, rest))
    if isinstance(node, ast.stmt) and not isinstance(node, ast.Return | ast.Pass | ast.Raise):
        made.append(ast.Pass())
    return made


def other_constants(value: Any) -> list[ast.AST]:
    """Return constants that are easily taken for this one."""
    if isinstance(value, bool):
        return [ast.Constant(not value)]
    if isinstance(value, int | float):
        return [ast.Constant(value + 1), ast.Constant(value - 1)]
    if isinstance(value, str):
        return [ast.Constant(f"{value}?")]
    return []


def with_test(node: ast.If | ast.While, test: ast.expr) -> ast.AST:
    """Return a branch or a loop with another condition."""
    return type(node)(test, node.body, node.orelse)


def survivors(exercise: Exercise) -> tuple[int, list[tuple[str, str]]]:
    """Return how many mutants an exercise has, and those that its tests do not see."""
    owner, name = place(exercise)
    tests = str(file_of_tests(exercise).relative_to(ROOT))
    count = 0
    living = []
    for line, body in mutants_of(body_of(read(exercise.module), exercise.name)):
        count += 1
        setattr(owner, name, solution(exercise, body))
        recorder = Recorder()
        pytest.main([tests, "-x", *PYTEST.split()], plugins=[recorder])
        if all(report.outcome == "passed" for report in recorder.reports.values()):
            living.append((line, body))
    return count, living


def worded(line: str) -> bool:
    """Whether only the words of an error are changed, which no student is told."""
    return line.startswith("raise ValueError(f")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the survivors of some exercises, or of all.

    Return 1 if there is one without a word, 2 for what is no number of an exercise.
    """
    parser = command_line.Parser("mutants.py", description="Small mistakes that no test sees.")
    every = [exercise.number for exercise in EXERCISES]
    parser.add_argument(
        "number", type=int, nargs="*", choices=every, help="of an exercise; all, if none is given"
    )
    try:
        numbers = parser.parse_args(arguments).number
    except UserError as error:
        print(f"mutants.py: {command_line.sentence(str(error))}", file=sys.stderr)
        return 2
    return print_survivors(numbers or every)


def print_survivors(numbers: Sequence[int]) -> int:
    """Print the survivors of some exercises; return 1 if there is one without a word."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    importlib.import_module("train")  # what it imports stays
    gc.freeze()
    unexplained = 0
    for exercise in EXERCISES:
        if exercise.number not in numbers:
            continue
        count, living = apart(ROOT, survivors, exercise)
        known = EQUAL.get(exercise.number, {})
        others = [line for line, _ in living if line not in known and not worded(line)]
        unexplained += len(others)
        seen = count - len(living)
        equal = len(living) - len(others)
        print(f"exercise {exercise.number}: {seen} of {count} mutants seen, {equal} are equal")
        for line in others:
            print(f"    survives: {line}")
        sys.stdout.flush()
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
