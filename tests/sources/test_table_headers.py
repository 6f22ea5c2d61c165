"""Tables whose header is another program's: the message says what to change."""

import pytest

from bottleneck.errors import ManifestError
from bottleneck.sources import open_source


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("url,y", "Rename url to path, y to label. Or say --path-column 'url' --label-column 'y'."),
        ("path;label", "separated by semicolons"),
        ("path\tlabel", "separated by tabs"),
        ("a,b", "path, and optionally label, split, group."),
    ],
)
def test_another_header_is_told_how_to_become_ours(tmp_path, header, says):
    (tmp_path / "t.csv").write_text(f"{header}\nx.png,cat\n")
    with pytest.raises(ManifestError, match="column named 'path'") as refused:
        open_source([str(tmp_path / "t.csv")])
    assert says in refused.value.hint
