"""Find entities and terms in texts, with their positions and names."""

from lg_prod_nodes.detectors.detector import (
    DEFAULT_ENTITIES,
    Detector,
    Finding,
    detector_of,
)
from lg_prod_nodes.detectors.terms import term_recognizers

__all__ = ["DEFAULT_ENTITIES", "Detector", "Finding", "detector_of", "term_recognizers"]
