"""In a student's copy, a test that meets a blank waits for that exercise instead of failing.

The exercises' own tests, which stand in course/, do fail.  In the project itself there are no
blanks, so this does nothing.
"""

import re

import pytest


def wait(report, path, line, output=""):
    """Turn a failure at a blank, of a test or of a whole file, into a skip that names it."""
    blank = re.search(r"NotImplementedError: (Exercise \d+):", f"{report.longrepr}{output}")
    if report.failed and blank:
        report.outcome = "skipped"
        report.longrepr = (str(path), line, f"waits for {blank[1]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    output = "".join(text for _, text in report.sections)
    wait(report, item.path, item.location[1], output)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    wait(report, collector.path, 0)
    return report
