"""A kernel's files that are made up: ``proc`` and ``sys`` below a folder."""

from __future__ import annotations

from pathlib import Path


class Kernel:
    """Writes what a kernel would; ticks are hundredths of a second."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/self/cgroup", "0::/\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def cores(self, **lines: str) -> None:
        """``cores(cpu0="user nice system idle iowait irq softirq steal guest guest_nice")``."""
        first = "cpu  " + " ".join(["99999"] * 10)
        self.write(
            "proc/stat", "\n".join([first, *(f"{name} {line}" for name, line in lines.items()), "ctxt 7"]) + "\n"
        )

    def program(
        self, pid: int, parent: int, name: str, user: int, system: int = 0, gone: tuple[int, int] = (0, 0)
    ) -> None:
        before = " ".join(["0"] * 9)  # from the process group to the major faults of children
        self.write(
            f"proc/{pid}/stat", f"{pid} ({name}) S {parent} {before} {user} {system} {gone[0]} {gone[1]} 20 0 1 0 500\n"
        )

    def pressure(self, microseconds: int) -> None:
        self.write(
            "proc/pressure/cpu",
            f"some avg10=1.00 avg60=2.00 avg300=3.00 total={microseconds}\nfull avg10=0.00 total=9\n",
        )
