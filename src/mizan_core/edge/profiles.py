"""How a tag is spelled in the header of an edge: readable where the edge takes it, as 14 letters where it does not."""

import hashlib
import re
from dataclasses import dataclass

# 26 ** 14 is about 2 ** 66: two of a billion tags are the same with a probability of 1 %, and a purge is then too wide.
_LETTERS = 14

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Profile:
    """A header that carries tags. `allowed`: a pattern of tags that it takes, of at most `maximum` characters.

    Letters are lower-case in what is hashed, for some edges do not tell upper-case ones apart.
    """

    header: str
    separator: str
    maximum: int
    allowed: str


# The tag itself, for people and for programs of one's own.
READABLE = Profile("X-Mizan-Tags", ", ", 1024, r"[!-+\--~]+")
# Fastly: keys are separated by spaces.
SURROGATE_KEY = Profile("Surrogate-Key", " ", 1024, r"[!-~]+")
# Cloudflare: printable characters but the comma, which separates.
CACHE_TAG = Profile("Cache-Tag", ",", 1024, r"[!-+\--~]+")
# Akamai refuses most punctuation.
EDGE_CACHE_TAG = Profile("Edge-Cache-Tag", ",", 128, r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Cache groups (RFC 9875, 2): what a String of RFC 9651 takes unescaped. A cache need not take more than 32 characters.
CACHE_GROUPS = Profile("Cache-Groups", ", ", 32, r"[ !#-\[\]-~]+")


def spelled_tag(tag: str, profile: Profile) -> str:
    """A tag as this profile spells it."""
    if len(tag) <= profile.maximum and re.fullmatch(profile.allowed, tag):
        return tag
    number = int.from_bytes(hashlib.sha256(tag.encode()).digest(), "big")
    letters = []
    for _ in range(_LETTERS):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)
