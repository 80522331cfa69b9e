"""The memory of processes, in MB."""

import pathlib
import platform
import subprocess
from collections.abc import Collection


def rss(processes: Collection[int]) -> float:
    """Return the sum of what each process uses, shared pages in each."""
    ps = ["ps", "-o", "rss=", "-p", ",".join(map(str, processes))]
    listed = subprocess.run(ps, check=True, capture_output=True, text=True).stdout
    return sum(map(int, listed.split())) / 1024


def pss(processes: Collection[int]) -> float | None:
    """Return the same with shared pages once, which only Linux knows."""
    if platform.system() != "Linux":
        return None
    texts = [pathlib.Path(f"/proc/{x}/smaps_rollup").read_text() for x in processes]
    return sum(int(x.partition("\nPss:")[2].split()[0]) for x in texts) / 1024
