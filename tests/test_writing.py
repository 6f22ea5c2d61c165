"""Tables that any reader of CSV gets back."""

import csv
import io

from bottleneck.writing import csv_line

ROWS = [
    ["a.png", "cat", None],
    ["carriage\rreturn", "new\nline", "both\r\n"],
    ['quo"te', "com,ma", ""],
    ["caf\u00e9", 3, 0.25],
]


def test_lines_come_back():
    text = "".join(map(csv_line, ROWS))
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found == [["" if cell is None else str(cell) for cell in row] for row in ROWS]


def test_plain_lines_are_those_of_the_csv_module():
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([ROWS[0], ROWS[2], ROWS[3]])
    assert "".join(map(csv_line, [ROWS[0], ROWS[2], ROWS[3]])) == stream.getvalue()
