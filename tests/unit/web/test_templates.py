"""Templates fill only blocks that their base templates have."""

import pytest
from jinja2 import Environment, PackageLoader, nodes

_LOADER = PackageLoader("lyftdata.web")
_ENVIRONMENT = Environment(loader=_LOADER, autoescape=True)


def parse(name):
    """Return a template's syntax tree."""
    source, _, _ = _LOADER.get_source(_ENVIRONMENT, name)
    return _ENVIRONMENT.parse(source)


def bases_of(tree):
    """Return the templates that a template extends; two if it depends on a condition."""
    named = (
        constant.value for base in tree.find_all(nodes.Extends) for constant in base.find_all(nodes.Const)
    )
    return [name for name in named if name.endswith(".html")]


def blocks_of(name):
    """Return the blocks that a template and its bases declare."""
    tree = parse(name)
    found = {block.name for block in tree.find_all(nodes.Block)}
    return found.union(*(blocks_of(base) for base in bases_of(tree)))


@pytest.mark.parametrize("name", [n for n in _LOADER.list_templates() if n.endswith(".html")])
def test_every_block_of_a_template_exists_in_its_base(name):
    """Jinja silently drops a block that the base does not have, and the page would be empty."""
    tree = parse(name)
    bases = bases_of(tree)
    there = set().union(*(blocks_of(base) for base in bases))
    filled_in = {block.name for block in tree.find_all(nodes.Block)}

    assert not bases or filled_in <= there, f"{bases[0]} has only these blocks: {', '.join(sorted(there))}"
