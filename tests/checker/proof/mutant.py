"""The list of mutants: each breaks a good history in one way that a real system could, and names who must notice."""

from __future__ import annotations

from .breaking import Mutant, NoVictimError
from .mutants_access import ACCESS_MUTANTS
from .mutants_log import LOG_MUTANTS
from .mutants_order import ORDER_MUTANTS
from .mutants_progress import PROGRESS_MUTANTS
from .mutants_sessions import SESSION_MUTANTS

__all__ = ["MUTANTS", "Mutant", "NoVictimError"]

MUTANTS: tuple[Mutant, ...] = (
    *LOG_MUTANTS,
    *ORDER_MUTANTS,
    *SESSION_MUTANTS,
    *ACCESS_MUTANTS,
    *PROGRESS_MUTANTS,
)
