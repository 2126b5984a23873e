"""Host names with a public suffix, by the list bundled with tldextract."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from lg_prod_nodes.detectors.recognizers.checked import words

if TYPE_CHECKING:
    from tldextract import TLDExtract

PRIVATE_ENDINGS = words(
    "corp example home internal intranet invalid lan local localdomain localhost private test"
)
"""Endings of internal host names, and those that RFC 2606 and RFC 6762 reserve for such use."""


@cache
def bundled_suffixes() -> TLDExtract:
    """Splits hosts by the bundled list; fetches nothing and stores nothing on disk."""
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@cache
def public_suffixes() -> frozenset[str]:
    """The public suffixes, such as `com` and `co.uk`."""
    return frozenset(bundled_suffixes().tlds)


@cache
def top_level_domains() -> frozenset[str]:
    """The last labels of the public suffixes."""
    return frozenset(suffix.rpartition(".")[2] for suffix in public_suffixes())


def is_top_level(label: str) -> bool:
    """Whether a label is a top-level domain; one in another script may be encoded."""
    label = label.lower()
    return label in top_level_domains() or label.startswith("xn--")
