"""Starts the real engines and all Chat4All processes as plain processes of one machine: no containers, no root.

A library: the command line (`chat4all up | down | status | logs`) and the tests use `Stack`. It runs no service itself and
keeps nothing running of its own: what it started lives in sessions of its own and is found again by pid files.
"""

from chat4all_native.errors import StartFailed
from chat4all_native.parts import Step
from chat4all_native.ports import find_free_block
from chat4all_native.stack import ENGINES, PROCESSES, Stack
from chat4all_native.status import PartStatus

__all__ = ["ENGINES", "PROCESSES", "PartStatus", "Stack", "StartFailed", "Step", "find_free_block"]
