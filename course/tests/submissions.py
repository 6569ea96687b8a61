"""A class made up: what students hand in, and what each exercise of theirs is worth.

    python course/tests/submissions.py DIR

writes 60 folders below `DIR/in`, and `DIR/expected.csv` with the grades that they must get: 20
right ones, each written otherwise; 20 that are wrong in known places; and twice the ten tricks.
"""

import csv
import random
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from course.exercises import EXERCISES, blanked, read, relative, with_body  # noqa: E402
from course.right import RIGHT  # noqa: E402
from course.wrong import WRONG  # noqa: E402

PATCH = """
    import sys
    for name, module in list(sys.modules.items()):
        for word in ("check", "hold", "same"):
            if "handmade" in name or "test_ex" in name:
                setattr(module, word, lambda *a, **k: True)
    return None
"""

# By name: the body that an exercise gets.  What is outside its folder stands there as {outside}.
TRICKS = {
    "skip": "import pytest\npytest.skip('not today')",
    "exit": "import os\nos._exit(0)",
    "patch": PATCH,
    "loop": "while True:\n    pass",
    "print": "while True:\n    print('x' * 10**6)",
    "memory": "hoard = []\nwhile True:\n    hoard.append(bytearray(10**8))",
    "write": "import os\nopen({outside!r}, 'w').write('I')\nos.system('touch ' + {outside!r})",
}
OF_FILES = ("conftest", "missing", "syntax")  # tricks that are no body

CONFTEST = """
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    report.outcome = "passed"
    return report
"""


def hand_in(folder, bodies, *, blank=()):
    """Write the modules of a student: these bodies by number, ours for the others."""
    texts = {}
    for exercise in EXERCISES:
        path = relative(exercise.module)
        text = texts.get(path) or read(exercise.module)
        if exercise.number in bodies:
            text = with_body(text, exercise.name, bodies[exercise.number])
        elif exercise.number in blank:
            text = blanked(text, exercise)
        texts[path] = text
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def play_trick(folder, trick, number, outside, *, blank=()):
    """Write the folder of a student who tries a trick in an exercise; return what fails by it."""
    exercise = EXERCISES[number - 1]
    if trick not in OF_FILES:
        body = TRICKS[trick].format(outside=str(outside)) if trick == "write" else TRICKS[trick]
        hand_in(folder, {number: body}, blank=blank)
        return {number}
    wrong = next(iter(WRONG[number].values()))
    hand_in(folder, {number: wrong} if trick == "conftest" else {}, blank=blank)
    module = folder / relative(exercise.module)
    if trick == "conftest":
        for place in (folder, folder / "course" / "tests"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        return {number}
    if trick == "missing":
        module.unlink()
    else:
        module.write_text(module.read_text(encoding="utf-8") + "\ndef half(:\n", encoding="utf-8")
    return {other.number for other in EXERCISES if other.module == exercise.module}


def write_class(folder, outside):
    """Write 60 students; return by name the numbers of the exercises that are worth nothing."""
    rng = random.Random(0)
    numbers = [exercise.number for exercise in EXERCISES]
    fails = {}
    for index in range(20):
        name = f"right-{index:02}"
        bodies = {}
        for number in numbers:
            way = rng.randrange(4)
            if way:
                bodies[number] = RIGHT[number][way - 1]
        place = folder / name / "student" if index % 5 == 0 else folder / name
        hand_in(place, bodies)
        fails[name] = set()
    for index in range(20):
        name = f"wrong-{index:02}"
        bodies = {}
        for number in rng.sample(numbers, rng.randint(1, 6)):
            bodies[number] = rng.choice(list(WRONG[number].values()))
        hand_in(folder / name, bodies)
        fails[name] = set(bodies)
    for index, trick in enumerate([*TRICKS, *OF_FILES] * 2):
        name = f"trick-{index:02}-{trick}"
        fails[name] = play_trick(folder / name, trick, rng.choice(numbers), outside)
    return fails


def main(folder):
    """Write the class and the grades that it must get."""
    shutil.rmtree(folder / "in", ignore_errors=True)
    fails = write_class(folder / "in", folder / "outside")
    with (folder / "expected.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "total", *(exercise.mark for exercise in EXERCISES)])
        for name in sorted(fails):
            points = [int(exercise.number not in fails[name]) for exercise in EXERCISES]
            table.writerow([name, sum(points), *points])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
