"""Tables on narrow terminals."""

from bottleneck.cli.show import fitted, shortened


def test_columns_are_dropped_in_order_and_names_shortened_in_the_middle():
    columns = ["name", "accuracy", "p", "fit"]
    lines = [["photos_efficientnet_lite0_layer_12.h5", "90.0%", "0.1", "3 s"]]
    assert fitted(columns, lines, 100) == (columns, lines)
    names, cells = fitted(columns, lines, 58, ["fit", "p"])
    assert (names, cells[0][1:]) == (["name", "accuracy", "p"], ["90.0%", "0.1"])
    assert cells[0][0] == lines[0][0]
    names, cells = fitted(columns, lines, 40, ["fit", "p"])
    assert names == ["name", "accuracy"]
    assert len(cells[0][0]) == 40 - 3 * 2 - len("accuracy")
    assert cells[0][0] == "photos_effic…0_layer_12.h5"


def test_a_text_keeps_both_ends():
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 5) == "ab…ij"
