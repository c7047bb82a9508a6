#!/usr/bin/env python3
"""Writes the partition ``bootstate`` of a disk that was never started: slot A confirmed, slot B empty.

Usage: bootstate_image.py FILE, with the repository on PYTHONPATH.
"""

import sys
from pathlib import Path

from gateway.provision.slots import BootState, SlotRecord, SlotState
from gateway.provision.slots_block import encode, partition

if __name__ == "__main__":
    fresh = BootState(b=SlotRecord(SlotState.BAD, 0))
    Path(sys.argv[1]).write_bytes(partition((encode(fresh, 0), encode(fresh, 0))))
