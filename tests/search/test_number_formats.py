"""Values of cells are written as Excel shows them."""

from __future__ import annotations

import datetime
import io

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.parse import xlsx
from service.search.parse.number_formats import format_cell

DAY = datetime.datetime(2024, 1, 5)  # noqa: DTZ001  # workbooks have no time zones


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (0.25, "0%", "25%"),
        (0.256, "0.0%", "25.6%"),
        (-0.5, "0.0%;[Red]-0.0%", "-50.0%"),
        (1234567.891, "#,##0.00", "1,234,567.89"),
        (1234.5, "$#,##0.00", "$1,234.50"),
        (1234.5, '"$"#,##0.00', "$1,234.50"),
        (1234.5, "[$€-407] #,##0.00", "€ 1,234.50"),
        (1234.5, "#,##0.00\\ [$€-40C]", "1,234.50 €"),
        (-1234.5, "#,##0.00_);(#,##0.00)", "(1,234.50)"),
        (12345.678, "_-* #,##0.00\\ _€_-;-* #,##0.00", "12,345.68"),
        (1500000, '0.0,,"M"', "1.5M"),
        (5, "000", "005"),
        (123456789, "000-00-0000", "123-45-6789"),
        (5551234567, "(000) 000-0000", "(555) 123-4567"),
        (1.5, "# ?/?", "1 1/2"),
        (0.333, "# ?/?", "1/3"),
        (0.5, "# ?/8", "4/8"),
        (12345, "0.00E+00", "1.23E+04"),
        (12.5, "0.###", "12.5"),
        (12, "0.###", "12"),
        (0.5, ".00", ".50"),
        (12.5, ".00", "12.50"),
        (2.5, "0", "3"),
        (-0.001, "0.00", "0.00"),
        (12, '0 "kg"', "12 kg"),
        (0, '0;-0;"zero"', "zero"),
        (7, '[>5]"big" 0;"small" 0', "big 7"),
        (3, '[>5]"big" 0;"small" 0', "small 3"),
        (3.0, "General", "3"),
        (0.1 + 0.2, "General", "0.3"),
        (2, 'General" items"', "2 items"),
        (5, ";;;", ""),
        (float("inf"), "0.00", "inf"),
        (True, "General", "TRUE"),
        (None, "0", ""),
        ("x", '"ID "@', "ID x"),
        ("x", "0.00", "x"),
        (DAY, "yyyy-mm-dd", "2024-01-05"),
        (DAY, "mm-dd-yy", "2024-01-05"),
        (DAY, "General", "2024-01-05"),
        (DAY, "dd.mm.yyyy", "05.01.2024"),
        (DAY, "mmm-yy", "Jan-24"),
        (DAY, "[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", "Friday, January 05, 2024"),
        (DAY, 'yyyy"年"m"月"d"日"', "2024年1月5日"),
        (DAY.replace(hour=13, minute=7), "d mmmm yyyy h:mm AM/PM", "5 January 2024 1:07 PM"),
        (datetime.time(9, 5), "h:mm", "9:05"),
        (datetime.time(9, 5, 3, 250000), "mm:ss.0", "05:03.2"),
        (datetime.timedelta(hours=26, minutes=3), "[h]:mm:ss", "26:03:00"),
    ],
)
def test_values_of_cells(value: object, number_format: str, text: str) -> None:
    assert format_cell(value, number_format) == text


@given(
    st.integers() | st.floats() | st.datetimes() | st.timedeltas() | st.times() | st.text(),
    st.text('0#?.,%/ E+-yYmMdDhHsS[]<>=;"\\_*@$General5€()', max_size=30),
)
def test_law_no_format_makes_it_raise(value: object, number_format: str) -> None:
    assert isinstance(format_cell(value, number_format), str)


def test_cells_of_a_workbook() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    formats = {"A1": (0.25, "0%"), "B1": (1234.5, "$#,##0.00"), "C1": (DAY, "d mmmm yyyy"), "D1": (True, "General")}
    for place, (value, number_format) in formats.items():
        sheet[place] = value
        sheet[place].number_format = number_format
    sheet["A2"] = "merged"
    sheet.merge_cells("A2:D2")
    file = io.BytesIO()
    book.save(file)
    text = "".join(piece for piece, _ in xlsx.parse(file))
    assert text == "Sheet\n25%\t$1,234.50\t5 January 2024\tTRUE\nmerged\n\n"
