"""Proof that the checker works: made-up good histories must pass, and every way we know to break one must be caught.

A recorded run can be broken in the same ways (`MUTANTS` take any history): that shows its records suffice to see it.
"""

from .mutant import MUTANTS, Mutant, NoVictimError
from .scenario import Shape, good_history
from .world import RESUME_LIMIT

__all__ = ["MUTANTS", "RESUME_LIMIT", "Mutant", "NoVictimError", "Shape", "good_history"]
