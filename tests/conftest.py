"""In a student's copy, a test of the suite that meets a blank waits for that exercise instead of failing.

An exercise's own tests do fail.  In the repository itself there are no blanks, so this does nothing.
"""

import re

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and not any(re.fullmatch(r"ex\d+", mark.name) for mark in item.iter_markers()):
        told = report.longreprtext + "".join(text for _, text in report.sections)
        blank = re.search(r"NotImplementedError: (Exercise \d+):", told)
        if blank:
            report.outcome, report.longrepr = "skipped", (item.location[0], item.location[1], f"waits for {blank[1]}")
    return report
