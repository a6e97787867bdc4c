"""The flowcharts of the documentation site."""

from xml.etree import ElementTree as ET

import pytest
from tools.site.flowchart import FlowchartError, draw, read

SVG = "{http://www.w3.org/2000/svg}"
TEXTS = "\n  accTitle: Two ways\n  accDescr: From one by two or three to four."
SOURCE = f'flowchart TD{TEXTS}\n  one --> two\n  one --> three["3 < 4"]\n  two --> four\n  three --> four'


def rows(source):
    """Return the labels of each row from top to bottom, each from left to right."""
    found: dict[float, list[tuple[float, str]]] = {}
    for text in ET.fromstring(draw(source)).iter(f"{SVG}text"):
        found.setdefault(float(text.get("y", "")), []).append((float(text.get("x", "")), str(text.text)))
    return [[label for _, label in sorted(row)] for _, row in sorted(found.items())]


def test_each_box_is_below_those_that_point_to_it():
    """Boxes are in rows, each once, with its label."""
    assert rows(SOURCE) == [["one"], ["two", "3 < 4"], ["four"]]


def test_boxes_in_a_row_are_in_the_order_of_those_above():
    """So that arrows do not cross unnecessarily."""
    lines = ["top --> left", "top --> right", "right --> under-right", "left --> under-left"]
    source = f"flowchart TD{TEXTS}\n" + "\n".join(lines).replace("under-", "under_")

    assert rows(source)[2] == ["under_left", "under_right"]


def test_each_arrow_is_drawn_from_box_to_box():
    """There are as many arrows as in the source."""
    drawn = ET.fromstring(draw(SOURCE))

    assert len([path for path in drawn.iter(f"{SVG}path") if path.get("marker-end")]) == 4


def test_a_flowchart_has_a_name_and_a_description():
    """For readers who cannot see it, with the texts of the source; the element IDs of two charts on one page differ."""
    drawn = ET.fromstring(draw(SOURCE))
    named = {str(element.get("id")): element.text for element in drawn.iter() if element.get("id")}

    assert named[str(drawn.get("aria-labelledby"))] == "Two ways"
    assert named[str(drawn.get("aria-describedby"))] == "From one by two or three to four."
    assert str(drawn.get("aria-labelledby")) not in draw(SOURCE.replace("Two ways", "Ways"))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("sequenceDiagram\n  one ->> two: hello", "only `flowchart TD`"),
        ("flowchart LR\n  one --> two", "only `flowchart TD`"),
        (f"flowchart TD{TEXTS}\n  one -.-> two", "cannot draw `one -.-> two`"),
        (f"flowchart TD{TEXTS}\n  subgraph one", "cannot draw `subgraph one`"),
        (f"flowchart TD{TEXTS}\n  one --> two\n  two --> one", "leads back"),
        (f"flowchart TD{TEXTS}\n  one --> two\n  two --> three\n  one --> three", "past a row"),
        ("flowchart TD\n  accTitle: x\n  one --> two", "lacks accDescr"),
        ("flowchart TD\n  one --> two", "lacks accDescr and accTitle"),
    ],
)
def test_unsupported_flowcharts_are_reported(source, problem):
    """An error fails the build of the site, instead of drawing a wrong picture."""
    with pytest.raises(FlowchartError, match=problem):
        draw(source)


def test_a_label_can_be_given_at_any_arrow():
    """At the first arrow of a box or at a later one."""
    source = f'flowchart TD{TEXTS}\n  one --> two\n  two["the second"] --> three'

    assert read(source).labels == {"one": "one", "two": "the second", "three": "three"}
