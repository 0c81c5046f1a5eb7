"""Spellings of tags in the headers of edges."""

import pytest

from mizan_core.edge import CACHE_TAG, EDGE_CACHE_TAG, READABLE, SURROGATE_KEY, Profile, spelled_tag

PROFILES = [READABLE, SURROGATE_KEY, CACHE_TAG, EDGE_CACHE_TAG]


@pytest.mark.parametrize("profile", [READABLE, SURROGATE_KEY, CACHE_TAG], ids=lambda one: one.header)
def test_a_tag_that_the_header_takes_stays_readable(profile: Profile) -> None:
    for tag in ("*", "user", "user;user_id=5", "user/*;name=%C3%A9"):
        assert spelled_tag(tag, profile) == tag


def test_a_forbidden_or_long_tag_becomes_14_letters() -> None:
    assert spelled_tag("user", EDGE_CACHE_TAG) == "user"
    assert spelled_tag("user;user_id=5", EDGE_CACHE_TAG) == "pvmfpsjafiqdxx"
    assert spelled_tag("u" * 1024, CACHE_TAG) == "u" * 1024
    for tag, profile in [
        ("u" * 1025, CACHE_TAG),
        ("u" * 129, EDGE_CACHE_TAG),
        ("a b", SURROGATE_KEY),
        ("a,b", READABLE),
    ]:
        spelled = spelled_tag(tag, profile)
        assert len(spelled) == 14
        assert spelled.isascii()
        assert spelled.islower()
        assert spelled.isalpha()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.header)
def test_no_two_tags_are_spelled_alike(profile: Profile) -> None:
    tags = [f"user;user_id={number}" for number in range(2000)]
    spelled = {spelled_tag(tag, profile) for tag in tags}
    assert len(spelled) == len(tags)
    assert not any(profile.separator.strip() in one for one in spelled if profile.separator.strip())
    assert not any(" " in one for one in spelled)
