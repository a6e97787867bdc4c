"""How the values of a search are compared."""

from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.query_values import TextPattern, fold, positions_of

TEXTS = st.text(st.sampled_from("aAbß\N{LATIN SMALL LETTER LONG S}1\n%*é "), max_size=6)
PATTERNS = st.builds(
    TextPattern,
    st.lists(TEXTS.map(fold), min_size=1, max_size=3).map(tuple),
    is_whole=st.booleans(),
)


@given(PATTERNS, st.lists(TEXTS, max_size=8))
def test_searching_many_texts_gives_the_same_result_as_one_by_one(pattern, texts):
    """Even if a text contains the character with which they are joined, or grows when it is case-folded."""
    alone = [place for place, text in enumerate(texts) if pattern.matches(fold(text))]

    assert positions_of(pattern, texts) == alone
