"""A run's folder: what is written comes back, and a file is whole or not there."""

import pytest
from doubles import read_lines

from engine import UserError
from engine.folder import check_free, write_lines


def test_records_come_back_from_disk_as_they_were(tmp_path):
    records = [
        {"text": "naïve \u2028 \ud800 \x00\n", "score": 0.1 + 0.2, "none": None},
        {},
        {"list": [1, {"a": []}]},
    ]
    write_lines(tmp_path / "data.jsonl", records)
    assert read_lines(tmp_path / "data.jsonl") == records
    names = [path.name for path in tmp_path.iterdir()]
    assert names == ["data.jsonl"], "nothing else may lie beside it"


def test_no_records_are_an_empty_file(tmp_path):
    write_lines(tmp_path / "data.jsonl", [])
    assert (tmp_path / "data.jsonl").read_bytes() == b""


def broken():
    yield {"a": 1}
    raise OSError("the disk is full")


def test_a_file_that_could_not_be_finished_does_not_appear(tmp_path):
    path = tmp_path / "data.jsonl"
    with pytest.raises(OSError, match="disk is full"):
        write_lines(path, broken())
    assert not path.exists()


def test_a_file_that_could_not_be_finished_does_not_harm_the_one_before(tmp_path):
    path = tmp_path / "data.jsonl"
    write_lines(path, [{"a": 0}])
    with pytest.raises(OSError, match="disk is full"):
        write_lines(path, broken())
    assert read_lines(path) == [{"a": 0}]


def test_while_a_file_is_written_the_one_before_can_be_read(tmp_path):
    path = tmp_path / "data.jsonl"
    write_lines(path, [{"a": 0}])

    def reader():
        yield {"a": 1}
        assert read_lines(path) == [{"a": 0}]
        yield {"a": 2}

    write_lines(path, reader())
    assert read_lines(path) == [{"a": 1}, {"a": 2}]


def test_a_folder_is_free_if_nothing_stands_there_or_nothing_in_it(tmp_path):
    check_free(tmp_path / "new")
    check_free(tmp_path)
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="something stands there already") as caught:
            check_free(path)
        assert str(path) in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
